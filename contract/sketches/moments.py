"""Sums and sums of squares of the frame statistics, in fixed point.

Integers add exactly, so windows merge to the same bits in any order; floating-point sums do not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Order matters: it is the layout of every window (`window.FEATURES_VERSION` changes with it).
STATISTICS = (
    "mean",
    "spread",
    "entropy",
    "dark",
    "saturated",
    "p05",
    "median",
    "p95",
    "sharpness",
    "grain",
    "vignette",
    "tilt",
)
N_STATISTICS = len(STATISTICS)

MEASURES_VERSION = 2
"""How the statistics are taken from pixels. A figure of another version says nothing here: the station enrols anew."""

SCALE = 1 << 16
LIMIT = 16.0
FIXED_LIMIT = int(LIMIT) * SCALE


def to_fixed(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return `values`, clipped to +-16, in units of 2**-16; int64, same shape. NaN becomes 0."""
    finite = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=LIMIT, neginf=-LIMIT)
    return np.rint(np.clip(finite, -LIMIT, LIMIT) * SCALE).astype(np.int64)


def means(sums: NDArray[np.int64], frames: int) -> NDArray[np.float64]:
    """Return the mean of each column of fixed-point `sums`, f64, 0 where there are no frames."""
    return np.asarray(sums / (SCALE * max(frames, 1)), np.float64)


def variances(sums: NDArray[np.int64], squares: NDArray[np.int64], frames: int) -> NDArray[np.float64]:
    """Return the population variance of each column, f64, >= 0; 0 where there are no frames."""
    count = max(frames, 1)
    centre = sums / count
    return np.asarray(np.maximum(squares / count - centre * centre, 0.0) / (SCALE * SCALE), np.float64)
