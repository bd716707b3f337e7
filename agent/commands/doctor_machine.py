"""What `plumbline-agent doctor` looks at in the machine: its memory, the wear of its disks, and a Jetson's load."""

from __future__ import annotations

from collections.abc import Sequence

from agent.clock import SystemClock
from agent.commands.doctor_checks import Finding, Level
from agent.decide.memory import MemoryRules, low_mib, why_low
from agent.health.disk_wear import WORN_OUT_SOON, disks
from agent.health.kernel_files import KernelFiles, is_tegra
from agent.health.memory_room import MemorySensor
from agent.health.tegrastats import TegraStats, ask_tegrastats, is_installed
from agent.health.throttling import gpu_load
from agent.ports.machine import DiskWear

_FREE = "stop what else runs here, run fewer models beside, or choose a smaller artefact; swap only delays it"
_REPLACE = "copy what is needed and replace it before it fails; a smaller [limits] disk_mib writes less"


def memory(files: KernelFiles | None = None, rules: MemoryRules | None = None) -> Finding:
    """Look at how much memory the station may still take."""
    files, rules = files or KernelFiles(), rules or MemoryRules()
    room = MemorySensor(files).look()
    if room is None:
        return Finding("memory", Level.OK, "the system does not say what is left of it, so it is not watched")
    told = (
        f"{room.available_mib:.0f} of {room.total_mib:.0f} MiB are left; degrades under {low_mib(room, rules):.0f} MiB"
    )
    if is_tegra(files):
        told += "; the GPU shares it"
    if why_low(room, rules):
        return Finding(
            "memory", Level.WARNING, f"{told}; {room.stalled:.0%} of the time everything waits for some", _FREE
        )
    return Finding("memory", Level.OK, told)


def disk_wear(files: KernelFiles | None = None) -> Finding:
    """Look at how much of their life the disks have used."""
    found = [disk for disk in disks(files or KernelFiles()) if disk.kind != "virtual"]
    if not found:
        return Finding("disk wear", Level.OK, "no disk here wears, or none is to be seen")
    told = "; ".join(map(_describe, found))
    worn = any(disk.reserve_low or (disk.worn or 0.0) >= WORN_OUT_SOON for disk in found)
    return Finding("disk wear", Level.WARNING if worn else Level.OK, told, _REPLACE if worn else "")


def has_load(files: KernelFiles | None = None) -> bool:
    """Return whether this is a machine whose GPU's load can be told."""
    return is_tegra(files or KernelFiles()) or is_installed()


def load(files: KernelFiles | None = None, command: Sequence[str] | None = None) -> Finding:
    """Say how busy the GPU and the memory controller are, from sysfs, else from tegrastats."""
    sysfs = gpu_load(files or KernelFiles())
    clock = SystemClock()
    asked = ask_tegrastats(clock) if command is None else ask_tegrastats(clock, command=command)
    stats = asked or TegraStats()
    busy = sysfs if sysfs is not None else stats.gpu
    told = [f"GPU {busy:.0%} busy" if busy is not None else "the GPU's load is not told here"]
    if stats.emc is not None:
        told.append(f"memory controller {stats.emc:.0%} busy")
    return Finding("load", Level.OK, ", ".join(told))


def _describe(disk: DiskWear) -> str:
    if disk.worn is None:
        told = f"{disk.name} ({disk.kind}) does not say how worn it is: {disk.why}"
    elif disk.worn > 1.0:
        told = f"{disk.name} ({disk.kind}) is past the life it was made for"
    else:
        told = f"{disk.name} ({disk.kind}) has used up to {disk.worn:.0%} of its life"
    if disk.reserve_low:
        told += ", and 80 % or more of its spare blocks"
    if disk.written_per_day is not None:
        told += f", {disk.written_per_day / (1 << 30):.1f} GiB a day are written"
    return told
