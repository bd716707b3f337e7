"""How much memory is left to this process: the machine's, its cgroup's, and how long everything waits for some.

Sources: proc_meminfo(5), MemAvailable; https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max, memory.current,
memory.stat) and its cgroup-v1/memory; https://docs.kernel.org/accounting/psi.html.
"""

from __future__ import annotations

from pathlib import Path

from agent.decide.memory import MemoryRoom
from agent.health.kernel_files import KernelFiles
from agent.health.sysfs import read_attribute, read_number

_MIB = 1 << 20
_MOST_LEVELS = 12
# Limit, what is taken, and of which files that can be dropped: cgroup v2 and v1.
_NAMES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


class MemorySensor:
    """Any thread may look. Which cgroup this process is in is found once: a service is not moved while it runs."""

    def __init__(self, files: KernelFiles | None = None) -> None:
        self._files = files or KernelFiles()
        self._groups: list[tuple[Path, Path, Path, str]] | None = None

    def look(self) -> MemoryRoom | None:
        """Return the room; None where the kernel does not tell."""
        told = _fields(read_attribute(self._files.proc / "meminfo"))
        total, available = told.get("MemTotal:"), told.get("MemAvailable:")
        if not total or available is None or not 0 <= available <= total:
            return None
        # /proc/meminfo counts in KiB.
        total_mib, available_mib = total / 1024, available / 1024
        for limit_mib, left_mib in self._limits():
            total_mib, available_mib = min(total_mib, limit_mib), min(available_mib, left_mib)
        return MemoryRoom(total_mib, available_mib, self._stalled())

    def _limits(self) -> list[tuple[float, float]]:
        if self._groups is None:
            self._groups = _groups(self._files)
        found = []
        for limit_path, taken_path, stat_path, dropped in self._groups:
            limit, taken = read_number(limit_path), read_number(taken_path)
            # "max" is no number; cgroup v1 says 2^63 less a page for "no limit", which the machine's own memory undercuts.
            if limit is None or taken is None or limit <= 0:
                continue
            reclaimable = _fields(read_attribute(stat_path)).get(dropped, 0)
            found.append((limit / _MIB, max(limit - max(taken - reclaimable, 0), 0) / _MIB))
        return found

    def _stalled(self) -> float:
        for line in read_attribute(self._files.proc / "pressure/memory").splitlines():
            kind, _, rest = line.partition(" avg10=")
            if kind == "full":
                try:
                    percent = float(rest.split()[0])
                except (ValueError, IndexError):
                    return 0.0
                return percent / 100 if 0.0 <= percent <= 100.0 else 0.0
        return 0.0


def _groups(files: KernelFiles) -> list[tuple[Path, Path, Path, str]]:
    """Return the files of this process's memory cgroup and those above it that limit anything, or might later."""
    found = []
    for line in read_attribute(files.proc / "self/cgroup").splitlines()[:32]:
        number, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if number == "0" and not kinds:
            top, names = files.cgroup, _NAMES[0]
        elif "memory" in kinds.split(","):
            top, names = files.cgroup / "memory", _NAMES[1]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", ".", "..")][:_MOST_LEVELS]
        # In a container the path may be the host's, of which only the top is to be seen here: that is then its own.
        for depth in range(len(parts), -1, -1):
            group = top.joinpath(*parts[:depth])
            if (group / names[0]).exists():
                found.append((group / names[0], group / names[1], group / "memory.stat", names[2]))
    return found


def _fields(text: str) -> dict[str, int]:
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isdecimal() and words[1].isascii():
            found[words[0]] = int(words[1])
    return found
