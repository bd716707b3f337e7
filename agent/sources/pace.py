"""Frames at a steady rate."""

from __future__ import annotations

import math

from agent.ports.clock import Clock
from contract.errors import InvalidConfig

# A read waits no longer, so that the frame loop can still stop, report and feed its watchdog at 0.1 frames a second.
MAX_WAIT_S = 0.5


class Pacer:
    """Lets `fps` frames a second through on the monotonic clock, from the first call on; None lets every frame through.

    A late frame does not shift those after it, but frames missed by a slow consumer are not made up for: a line does not wait.
    """

    def __init__(self, clock: Clock, fps: float | None) -> None:
        if fps is not None and not (math.isfinite(fps) and 0 < fps <= 10_000):
            raise InvalidConfig(f"fps is {fps}", hint="give frames a second, above 0, or leave fps out for full speed")
        self._clock = clock
        self._period_s = 1 / fps if fps else 0.0
        self._due: float | None = None

    def wait(self) -> bool:
        """Wait, at most MAX_WAIT_S, until the next frame is due. Return whether it is; that frame then counts as let through."""
        if self._period_s == 0.0:
            return True
        now = self._clock.monotonic()
        if self._due is None:
            self._due = now
        wait_s = self._due - now
        if wait_s > 0:
            self._clock.sleep(min(wait_s, MAX_WAIT_S))
            if wait_s > MAX_WAIT_S:
                return False
        next_due = self._due + self._period_s
        self._due = next_due if next_due > now else now + self._period_s
        return True
