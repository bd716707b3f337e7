"""Which ranges of new bytes stand in old bytes too, wherever: what a delta copies of files that are no tensors.

The old bytes are hashed in blocks of BLOCK bytes at multiples of BLOCK, the new ones at every offset, so any equal run of twice
that is found; each find is compared and then grown both ways.

Source: Tridgell 1999, "Efficient Algorithms for Sorting and Synchronization", ch. 3, with one polynomial hash for two.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
_PIECE = 1 << 20
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
Bytes = NDArray[np.uint8]


class EqualRanges:
    """An index of `old` bytes, u8[N]."""

    def __init__(self, old: Bytes) -> None:
        self._old = old
        blocks = old[: len(old) // BLOCK * BLOCK].reshape(-1, BLOCK)
        hashes = np.zeros(len(blocks), np.uint64)
        for column in range(BLOCK):
            hashes = hashes * _FACTOR + blocks[:, column]
        # The first of equal blocks: a long run of zeros is then copied from one place on.
        self._hashes, self._blocks = np.unique(hashes, return_index=True)

    def find(self, new: Bytes) -> Iterator[tuple[int, int, int]]:
        """Yield (offset in new, offset in old, size) of equal ranges in order, none overlapping in `new`."""
        done = 0
        for begin in range(0, len(new), _PIECE):
            for at, block in self._hits(new[begin : begin + _PIECE + BLOCK - 1]):
                at += begin
                if at < done:
                    continue
                origin = block * BLOCK
                size = _equal(new[at:], self._old[origin:])
                if size < BLOCK:
                    continue  # a hash that lies
                back = _equal(new[done:at][::-1], self._old[:origin][::-1])
                yield at - back, origin - back, size + back
                done = at + size

    def _hits(self, new: Bytes) -> Iterator[tuple[int, int]]:
        windows = len(new) - BLOCK + 1
        if windows < 1 or not len(self._hashes):
            return
        hashes = np.zeros(windows, np.uint64)
        for column in range(BLOCK):
            hashes = hashes * _FACTOR + new[column : column + windows]
        places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        for at in np.flatnonzero(self._hashes[places] == hashes):
            yield int(at), int(self._blocks[places[at]])


def _equal(left: Bytes, right: Bytes) -> int:
    """Return how many first bytes of the two are the same."""
    size, step = min(len(left), len(right)), 256
    at = 0
    while at < size:
        end = min(at + step, size)
        differ = np.flatnonzero(left[at:end] != right[at:end])
        if len(differ):
            return at + int(differ[0])
        at, step = end, step * 4
    return size
