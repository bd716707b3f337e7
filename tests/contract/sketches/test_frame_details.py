"""Sharpness, grain and specks are those of plain whole numbers, to the last bit: sketches of old and new stations must merge."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.sketches.frame_stats import STATISTICS, frame_stats

_NAMES = ("sharpness", "grain", "specks")


def _stripes(grey: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return the eight stripes in which a large frame is looked at, or all of it."""
    height, width = grey.shape
    rows = max(8_192 // width, 8)
    if max(height, width) <= 512 or rows * 8 >= height:
        return [grey]
    return [grey[top : top + rows] for top in ((2 * n + 1) * (height - rows) // 16 for n in range(8))]


def _plain(grey: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Return Laplacian energy, gradient energy and specks of one stripe, in int64 and one after another."""
    x = grey.astype(np.int64)
    height, width = x.shape
    right, below = np.diff(x, axis=1), np.diff(x, axis=0)
    gradient = sum(int((d * d).sum()) / d.size for d in (right, below) if d.size)
    laplacian = 0.0
    if min(height, width) >= 3:
        bend = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:] - 4 * x[1:-1, 1:-1]
        laplacian = int((bend * bend).sum()) / bend.size
    down, across = height // 8, width // 8
    if min(down, across) == 0:
        return laplacian, gradient, 0.0
    blocks = x[: down * 8, : across * 8].reshape(down, 8, across, 8)
    total = int(blocks.sum()) / 64
    dark, bright = total - int(blocks.min(axis=(1, 3)).sum()), int(blocks.max(axis=(1, 3)).sum()) - total
    return laplacian, gradient, (dark - bright) / (down * across + dark + bright)


def _expected(grey: NDArray[np.uint8]) -> tuple[float, float, float]:
    stripes, found = _stripes(grey), np.zeros(3)
    for stripe in stripes:
        found += _plain(stripe)
    laplacian, gradient, specks = (found / len(stripes)).tolist()
    return math.log1p(laplacian) / 4.0, math.log((1.0 + laplacian) / (1.0 + gradient)) / 4.0, specks


def _found(pixels: NDArray[np.uint8]) -> tuple[float, ...]:
    values = frame_stats(pixels).values
    return tuple(float(values[STATISTICS.index(name)]) for name in _NAMES)


def _surface(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    # Of an ordinary contrast: the squares of a row then add up below 2**24, where f32 is exact.
    noise = np.random.Generator(np.random.PCG64(seed)).normal(120, 15, (height, width))
    return np.clip(noise, 0, 255).astype(np.uint8)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_of_a_small_frame(height: int, width: int, seed: int) -> None:
    grey = _surface(height, width, seed)
    assert _found(grey) == _expected(grey)


@pytest.mark.parametrize(
    "shape",
    [
        (800, 1280),
        (797, 1283),
        (513, 40),
        (40, 2000),
        (63, 513),
        (2000, 300),
        (601, 700),
        (1200, 520),
        (7, 900),
        (900, 7),
    ],
)
def test_of_a_large_frame_in_stripes(shape: tuple[int, int]) -> None:
    grey = _surface(*shape, 1)
    assert _found(grey) == _expected(grey)
    assert _found(grey[:, :, None]) == _expected(grey)


def test_how_a_large_frame_lies_in_memory_does_not_matter() -> None:
    grey = _surface(800, 1280, 2)
    assert _found(grey[::-1]) == _expected(np.ascontiguousarray(grey[::-1]))
    wide = np.repeat(grey, 2, axis=1)
    assert _found(wide[:, ::2]) == _expected(grey)
