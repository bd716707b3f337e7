"""The only file of the agent that reads a clock."""

from __future__ import annotations

import time


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Return Unix seconds, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that only ever move forward."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
