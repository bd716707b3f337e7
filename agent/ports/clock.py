"""Time, passed in."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Wall time may jump (1970, leap, NTP); only the monotonic clock measures durations."""

    def now(self) -> float:
        """Return Unix seconds, UTC."""

    def monotonic(self) -> float:
        """Return seconds that only ever move forward."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
