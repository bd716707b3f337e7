"""What slows the machine down beside the cooling devices that say so: lowered ceilings of frequency, and Intel's own clock.

Sources: https://docs.kernel.org/admin-guide/pm/cpufreq.html: `scaling_max_freq` is lowered by thermal cooling (a request beside
that of whoever set it); /sys/class/devfreq likewise. `package_throttle_total_time_ms` counts how long a hot Intel package held
its clock down (kernel, arch/x86 therm_throt.c).
"""

from __future__ import annotations

from pathlib import Path

from agent.health.kernel_files import KernelFiles
from agent.health.sysfs import entries, read_number

# Policies share a cluster's clock on ARM; on x86 each thread has one, and what heat does it does to all.
_MOST_POLICIES = 4
_GPU_NAMES = ("gpu", "gpc", "gv11b", "ga10b", "gp10b")
_HELD_MS = 100


class FrequencyCeilings:
    """One thread's: it remembers the highest ceiling it saw, for a power mode lowers it too, and for good.

    A station that starts on a hot machine takes the lowered ceiling for the rule until the heat has gone once.
    """

    def __init__(self, files: KernelFiles) -> None:
        policies = entries(files.cpu / "cpufreq", "policy")[:_MOST_POLICIES]
        self._ceilings = [path for path in (policy / "scaling_max_freq" for policy in policies) if path.exists()]
        gpus = [gpu for gpu in entries(files.devfreq, "") if any(name in gpu.name for name in _GPU_NAMES)]
        self._ceilings += [gpu / "max_freq" for gpu in gpus[:_MOST_POLICIES]]
        self._highest: dict[Path, int] = {}

    def look(self) -> str:
        """Return what runs under a lower ceiling than it did, e.g. "policy0"; "" for nothing."""
        lowered = ""
        for path in self._ceilings:
            ceiling = read_number(path)
            if ceiling is None or ceiling <= 0:
                continue
            highest = self._highest[path] = max(ceiling, self._highest.get(path, 0))
            if ceiling < highest:
                lowered = lowered or path.parent.name
        return lowered


class HeldClock:
    """One thread's: how long a hot Intel package held its clock down since the last look."""

    def __init__(self, files: KernelFiles) -> None:
        self._path = files.cpu / "cpu0/thermal_throttle/package_throttle_total_time_ms"
        self._there = self._path.exists()
        self._last: int | None = None

    def look(self) -> bool:
        """Return whether it was for longer than the moment at which a turbo ends."""
        if not self._there:
            return False
        before, self._last = self._last, read_number(self._path)
        return before is not None and self._last is not None and self._last - before >= _HELD_MS


def gpu_load(files: KernelFiles) -> float | None:
    """Return how busy a Jetson's GPU is, 0 to 1; None where sysfs does not say (a Thor's does not, see `tegrastats`).

    `load` counts to 1000. Sources: https://github.com/rbonghi/jetson_stats/issues/360, whose paths are those of tegrastats itself.
    """
    folders = [files.platform / "gpu.0", files.root / "sys/devices/gpu.0"]
    folders += [gpu / "device" for gpu in entries(files.devfreq, "") if any(name in gpu.name for name in _GPU_NAMES)]
    for folder in folders[:8]:
        load = read_number(folder / "load")
        if load is not None and 0 <= load <= 1000:
            return load / 1000
    return None
