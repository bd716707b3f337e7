"""How fast training goes, and how long the rest should take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from cloud.ports.clock import Clock


class Pace:
    """Counts steps against a clock; time spent in `pause` does not count as training."""

    def __init__(self, clock: Clock, batch_size: int) -> None:
        self._clock, self._batch = clock, batch_size
        self._started, self._paused, self._steps = clock.monotonic(), 0.0, 0

    def count(self) -> None:
        """Count one step."""
        self._steps += 1

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Leave what is done inside out of the speed."""
        began = self._clock.monotonic()
        yield
        self._paused += self._clock.monotonic() - began

    def images_per_s(self) -> float:
        """Return images of all processes per second of training so far."""
        elapsed = self._clock.monotonic() - self._started - self._paused
        return self._steps * self._batch / elapsed if elapsed > 0 else 0.0

    def left_s(self, steps: int) -> float:
        """Return the seconds that `steps` more should take, pauses included."""
        return steps * (self._clock.monotonic() - self._started) / max(1, self._steps)
