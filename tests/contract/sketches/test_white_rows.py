"""Sums of pixels that f32 does not hold any more: a line-scan camera's row of 70,000 nearly white pixels."""

from __future__ import annotations

import numpy as np
import pytest

from contract.sketches.frame_stats import STATISTICS, frame_stats

_SPECKS = STATISTICS.index("specks")
_BLOCK = 8


@pytest.mark.parametrize("width", [65_792, 65_800, 70_000], ids=["the last that f32 holds", "one block more", "wide"])
def test_specks_of_a_nearly_white_row_are_those_of_whole_numbers(width: int) -> None:
    rng = np.random.default_rng(width)
    pixels = np.where(rng.random((_BLOCK, width)) < 0.0002, 254, 255).astype(np.uint8)
    blocks = pixels.reshape(_BLOCK, -1, _BLOCK).astype(np.int64)
    total = int(blocks.sum()) / _BLOCK**2
    dark, bright = total - int(blocks.min(axis=(0, 2)).sum()), int(blocks.max(axis=(0, 2)).sum()) - total
    expected = (dark - bright) / (blocks.shape[1] + dark + bright)
    assert frame_stats(pixels).values[_SPECKS] == expected
