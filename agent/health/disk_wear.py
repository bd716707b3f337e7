"""How much of their life the disks have used, and how much is written to them.

Sources: JEDEC JESD84-B51, EXT_CSD 267 to 269, which Linux shows as `pre_eol_info` and `life_time` (0x01: up to 10 % used ...
0x0A: up to 100 %, 0x0B: beyond; 0x00: not said) of type MMC; https://docs.kernel.org/block/stat.html: sectors of 512 bytes,
whatever the disk's are.

An SD card has no such register. An NVMe disk's "percentage used" comes from an admin command, an ioctl that the kernel grants to
root alone, and a SATA disk's from another; a station runs as nobody in particular, so it says that it does not know.
"""

from __future__ import annotations

import re
from pathlib import Path

from agent.health.kernel_files import KernelFiles
from agent.health.sysfs import entries, read_attribute
from agent.ports.machine import DiskWear

WORN_OUT_SOON = 0.8

_DISK = re.compile(r"mmcblk\d{1,3}|nvme\d{1,3}n\d{1,3}|sd[a-z]{1,2}|vd[a-z]{1,2}")
_MOST_DISKS = 16
_SECTOR = 512
_LIFE_TIMES = range(0x01, 0x0C)
_RESERVE_LOW = (0x02, 0x03)
_LEAST_UPTIME_S = 3600.0
_DAY_S = 86_400.0
_NOT_TOLD = {
    "SD": "an SD card does not tell",
    "NVMe": "only root may ask it: nvme smart-log",
    "SATA or USB": "only root may ask it: smartctl -a",
    "virtual": "a virtual disk does not wear",
}


def disks(files: KernelFiles) -> tuple[DiskWear, ...]:
    """Return every disk that is no partition, no RAM and no loop."""
    uptime_s = _uptime_s(files)
    found = [entry for entry in entries(files.block, "") if _DISK.fullmatch(entry.name)]
    return tuple(_look(disk, uptime_s) for disk in found[:_MOST_DISKS])


def _look(disk: Path, uptime_s: float | None) -> DiskWear:
    kind = _kind(disk)
    worn, why, reserve_low = None, _NOT_TOLD.get(kind, ""), False
    if kind == "eMMC":
        worn = _life_used(read_attribute(disk / "device/life_time"))
        reserve_low = _hex(read_attribute(disk / "device/pre_eol_info")) in _RESERVE_LOW
        why = "" if worn is not None else "it does not tell: older than eMMC 5.0, or its maker left it out"
    written = _written(disk)
    # Of the first hour the day's rate would be that of starting.
    known = written is not None and uptime_s is not None and uptime_s >= _LEAST_UPTIME_S
    per_day = written / uptime_s * _DAY_S if known and written is not None and uptime_s else None
    return DiskWear(disk.name, kind, worn, why, reserve_low, written, per_day)


def _kind(disk: Path) -> str:
    if disk.name.startswith("mmcblk"):
        return "SD" if read_attribute(disk / "device/type") == "SD" else "eMMC"
    if disk.name.startswith("nvme"):
        return "NVMe"
    return "virtual" if disk.name.startswith("vd") else "SATA or USB"


def _life_used(text: str) -> float | None:
    """Return the share used, the upper end of the step that the worse of both kinds of cells is in."""
    steps = [_hex(word) for word in text.split()[:2]]
    known = [step for step in steps if step is not None and step in _LIFE_TIMES]
    return max(known) / 10 if known else None


def _hex(word: str) -> int | None:
    return int(word, 16) if re.fullmatch(r"0x[0-9a-fA-F]{1,2}", word) else None


def _written(disk: Path) -> int | None:
    fields = read_attribute(disk / "stat").split()
    if len(fields) < 7 or not (fields[6].isascii() and fields[6].isdecimal()):
        return None
    return int(fields[6]) * _SECTOR


def _uptime_s(files: KernelFiles) -> float | None:
    first = read_attribute(files.proc / "uptime").split(" ")[0]
    return float(first) if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", first) else None
