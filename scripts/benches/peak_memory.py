"""The most memory a piece of work takes beyond what its process had, from /proc; the standard library alone, for peers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def measured(work: Callable[[], object]) -> dict[str, float]:
    """Return {"s": seconds, "mib": peak resident memory above the start} of `work`, imports in it included.

    Raises:
        OSError: this system has no /proc.
    """
    _CLEAR.write_text("5")  # the peak from here on
    start, begun = _kib("VmRSS"), time.perf_counter()
    work()
    return {"s": time.perf_counter() - begun, "mib": max(0, _kib("VmHWM") - start) / 1024}


def _kib(name: str) -> int:
    return next(int(line.split()[1]) for line in _STATUS.read_text().splitlines() if line.startswith(name))
