"""What a process has used so far, from /proc."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_NS = 1e-9


@dataclass(frozen=True, slots=True)
class Used:
    """CPU of all threads that live, in seconds, and bytes handed to the disk."""

    cpu_s: float
    written: int


def used(pid: int) -> Used:
    """Return what process `pid` has used.

    Raises:
        OSError: it is gone, or this system has no /proc.
    """
    # schedstat counts nanoseconds where stat counts hundredths of a second. No thread of the agent ends while it is measured.
    tasks = Path(f"/proc/{pid}/task").iterdir()
    cpu_s = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) * _NS
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return Used(cpu_s, next(int(line.split()[1]) for line in lines if line.startswith("write_bytes")))


def rss_mb(pid: int | str) -> float:
    """Return the resident memory of process `pid` (or "self") in MB of 10^6 bytes.

    Raises:
        OSError: as `used`.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6
