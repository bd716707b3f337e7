"""A clock that moves only when somebody sleeps."""

from __future__ import annotations

from collections.abc import Callable

import pytest


class SleepingClock:
    """Starts at monotonic 100 s; `on_sleep` runs at each sleep, so that a test can act in the middle of a wait."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None

    def now(self) -> float:
        return 1_700_000_000.0 + self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.seconds += seconds
        self.on_sleep()


@pytest.fixture
def clock() -> SleepingClock:
    return SleepingClock()
