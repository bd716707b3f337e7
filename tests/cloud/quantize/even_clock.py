"""A clock to which everything takes as long: what ships then hangs on accuracy and size, and not on who shares the machine."""

from __future__ import annotations


class EvenClock:
    """A millisecond passes whenever it is read."""

    def __init__(self) -> None:
        self._at_s = 0.0

    def now(self) -> float:
        """Return Unix seconds."""
        return self._at_s

    def monotonic(self) -> float:
        """Return seconds."""
        self._at_s += 0.001
        return self._at_s

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._at_s += seconds
