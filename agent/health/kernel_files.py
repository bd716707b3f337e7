"""Where the kernel shows what it knows: everything that `agent/health` reads lies under one root, which a test replaces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.health.sysfs import read_attribute


@dataclass(frozen=True, slots=True)
class KernelFiles:
    """The folders of sysfs and procfs below `root`."""

    root: Path = Path("/")

    @property
    def thermal(self) -> Path:
        """Thermal zones and cooling devices."""
        return self.root / "sys/class/thermal"

    @property
    def hwmon(self) -> Path:
        """Voltages, currents and alarms."""
        return self.root / "sys/class/hwmon"

    @property
    def power_supply(self) -> Path:
        """Mains and batteries."""
        return self.root / "sys/class/power_supply"

    @property
    def platform(self) -> Path:
        """Platform devices: a Pi's firmware, a Jetson's GPU."""
        return self.root / "sys/devices/platform"

    @property
    def cpu(self) -> Path:
        """Processors and their frequencies."""
        return self.root / "sys/devices/system/cpu"

    @property
    def devfreq(self) -> Path:
        """What else has frequencies: GPUs, memory controllers."""
        return self.root / "sys/class/devfreq"

    @property
    def block(self) -> Path:
        """Disks."""
        return self.root / "sys/block"

    @property
    def cgroup(self) -> Path:
        """Limits of groups of processes."""
        return self.root / "sys/fs/cgroup"

    @property
    def proc(self) -> Path:
        """Memory, uptime, the device tree."""
        return self.root / "proc"


def is_tegra(files: KernelFiles) -> bool:
    """Return whether this is a Jetson, whose GPU has no memory of its own.

    Source: /proc/device-tree/compatible is a list of NUL-ended strings from the board to its chip ("nvidia,tegra234"),
    Devicetree Specification 0.4, 2.3.1; a Thor too is one ("nvidia,tegra264"). Docker hides the device tree from containers, but
    not soc0, whose family is "Tegra" (kernel, drivers/soc/tegra/fuse).
    """
    try:
        if b"nvidia,tegra" in (files.proc / "device-tree/compatible").read_bytes()[:1000]:
            return True
    except OSError:
        pass
    return read_attribute(files.root / "sys/devices/soc0/family") == "Tegra"
