"""How much memory is left to this process: the machine's, its cgroup's, and how long everything waits for some.

Sources: proc_meminfo(5), MemAvailable; https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max, memory.current,
memory.stat) and its cgroup-v1/memory; https://docs.kernel.org/accounting/psi.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.decide.memory import MemoryRoom
from agent.health.kernel_files import KernelFiles
from agent.health.sysfs import read_attribute, read_number

_MIB = 1 << 20
_MOST_LEVELS = 12
_FILES = ("inactive_file", "active_file")


@dataclass(frozen=True, slots=True)
class _Group:
    """A cgroup's files: its limits, what it takes, and its statistics, in which `dropped` names the pages of files.

    Those can be dropped, read often or not, and MemAvailable counts both kinds as left too: a group that only reads and writes
    files fills up to its limit with them, which is no shortage. Where dropping them costs time, `stalled` tells.
    """

    limits: tuple[Path, ...]
    taken: Path
    stat: Path
    dropped: tuple[str, ...]


class MemorySensor:
    """Any thread may look. Which cgroup this process is in is found once: a service is not moved while it runs."""

    def __init__(self, files: KernelFiles | None = None) -> None:
        self._files = files or KernelFiles()
        self._groups: list[_Group] | None = None

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
        for group in self._groups:
            # "max" is no number; cgroup v1 says 2^63 less a page for "no limit", which the machine's own memory undercuts.
            limits = [limit for limit in map(read_number, group.limits) if limit is not None and limit > 0]
            taken = read_number(group.taken) if limits else None
            if taken is None:
                continue
            told = _fields(read_attribute(group.stat))
            limit, reclaimable = min(limits), sum(told.get(name, 0) for name in group.dropped)
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


def _groups(files: KernelFiles) -> list[_Group]:
    """Return this process's memory cgroup and those above it, as far as they have limits, set or not."""
    found = []
    for line in read_attribute(files.proc / "self/cgroup").splitlines()[:32]:
        number, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        unified = number == "0" and not kinds
        if not unified and "memory" not in kinds.split(","):
            continue
        top = files.cgroup if unified else files.cgroup / "memory"
        parts = [part for part in path.split("/") if part not in ("", ".", "..")][:_MOST_LEVELS]
        # In a container the path may be the host's, of which only the top is to be seen here: that is then its own.
        for depth in range(len(parts), -1, -1):
            group = _group(top.joinpath(*parts[:depth]), unified=unified)
            if group.limits[0].exists():
                found.append(group)
    return found


def _group(folder: Path, *, unified: bool) -> _Group:
    stat = folder / "memory.stat"
    if unified:
        # Above memory.high a process is held up until it has given some back, which is no way to judge parts.
        limits = folder / "memory.max", folder / "memory.high"
        return _Group(limits, folder / "memory.current", stat, _FILES)
    dropped = tuple(f"total_{name}" for name in _FILES)
    return _Group((folder / "memory.limit_in_bytes",), folder / "memory.usage_in_bytes", stat, dropped)


def _fields(text: str) -> dict[str, int]:
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isdecimal() and words[1].isascii():
            found[words[0]] = int(words[1])
    return found
