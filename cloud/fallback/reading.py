"""How long an image takes to be read, told from how many pixels it says it has, before anything is decoded.

A batch is answered as one. An image of tens of megapixels, small as it may be in bytes, takes longer to read than all the rest of
the batch to judge, and would make everybody beside it late.
"""

from __future__ import annotations

import threading
from collections import deque
from statistics import median_low

# Until anything was read: what a slow processor takes for a pixel of a PNG.
_GUESS_S = 30e-9
_KEPT = 8
# Of a smaller one most is overhead.
_TELLING_PIXELS = 250_000
_SIZES = 64
# What is usual is told by so many; until then, and where all are smaller, by this.
_LEAST_SIZES = 16
_ORDINARY_PIXELS = 1_000_000
_HUGE_FACTOR = 4


class Reading:
    """What the latest images took, and how large they were. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._took: deque[float] = deque(maxlen=_KEPT)
        self._sizes: deque[int] = deque(maxlen=_SIZES)

    def note(self, pixels: int, took_s: float) -> None:
        """Learn that an image took so long."""
        with self._lock:
            self._sizes.append(pixels)
            if pixels >= _TELLING_PIXELS:
                self._took.append(took_s / pixels)

    def expect_s(self, pixels: int) -> float:
        """Return what an image may be expected to take: as long as the slowest of the latest."""
        with self._lock:
            return pixels * max(self._took, default=_GUESS_S)

    def is_huge(self, pixels: int) -> bool:
        """Return whether an image is far larger than those that are usually asked about: what they take is reckoned with."""
        with self._lock:
            usual = median_low(self._sizes) if len(self._sizes) >= _LEAST_SIZES else 0
        return pixels > _HUGE_FACTOR * max(usual, _ORDINARY_PIXELS)
