"""A station's clocks: one to measure by, and one that may be wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

# A minute after the epoch: a window that began before it would have no time to have begun at.
_EARLIEST = 60.0


@dataclass(frozen=True, slots=True)
class Clocks:
    """Monotonic seconds for what is measured, and the wall clock as this station has it, right or wrong."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]


def clocks_off_by(seconds: float) -> Clocks:
    """Return the machine's clocks, the wall clock `seconds` ahead."""
    return Clocks(time.monotonic, lambda: max(time.time() + seconds, _EARLIEST))
