"""Whether a station's clock can be believed: its wall clock against the seconds since its machine started.

A clock that is set once, when a station first reaches a time server, is no fault: it was not trusted before. One that jumps
while it was trusted, and again, throws windows into the wrong hour of the day, and with them the season of every figure.
"""

from __future__ import annotations

import msgspec

from cloud.drift.observation import Observation

JUMP_S = 120.0
_FAULT_JUMPS = 2


class StationClock(msgspec.Struct, frozen=True):
    """The clock as the last window had it, and how many windows ago it jumped, for each of the last jumps."""

    boot: str = ""
    ended_at: float = 0.0
    monotonic_s: float = -1.0
    synced: bool = False
    jumps: tuple[int, ...] = ()
    jumped_s: float = 0.0

    def after(self, seen: Observation, within: int) -> StationClock:
        """Return the clock after `seen`; jumps longer than `within` windows ago are forgotten."""
        jumps = tuple(age + 1 for age in self.jumps if age + 1 < within)
        jumped_s = self.jumped_s
        known = self.synced and self.boot == seen.boot and 0.0 <= self.monotonic_s < seen.monotonic_s
        moved = (seen.ended_at - self.ended_at) - (seen.monotonic_s - self.monotonic_s)
        if known and abs(moved) > JUMP_S:
            jumps, jumped_s = (*jumps, 0), moved
        return StationClock(seen.boot, seen.ended_at, seen.monotonic_s, seen.clock_synced, jumps, jumped_s)

    @property
    def is_faulty(self) -> bool:
        """Whether it jumped more than once of late."""
        return len(self.jumps) >= _FAULT_JUMPS

    def sentence(self) -> str:
        """Return e.g. "clock: jumped 2 times in 9 windows, last by -3.0 h"."""
        last = (
            f"{self.jumped_s / 3600.0:+.1f} h" if abs(self.jumped_s) >= 3600.0 else f"{self.jumped_s / 60.0:+.0f} min"
        )
        return f"clock: jumped {len(self.jumps)} times in {max(self.jumps, default=0) + 1} windows, last by {last}"
