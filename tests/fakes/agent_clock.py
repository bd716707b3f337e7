"""A clock that a test turns by hand."""

from __future__ import annotations


class HandClock:
    """Starts in November 2026; sleeping moves it."""

    def __init__(self, now: float = 1_795_200_000.0) -> None:
        self.wall = now
        self.mono = 1_000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def sleep(self, seconds: float) -> None:
        self.forward(seconds)

    def forward(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds
