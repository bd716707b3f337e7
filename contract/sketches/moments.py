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
    "specks",
    "p95",
    "sharpness",
    "grain",
    "vignette",
    "tilt",
)
N_STATISTICS = len(STATISTICS)

STATISTICS_OF_1 = tuple("median" if name == "specks" else name for name in STATISTICS)
"""The columns of a window of features version 1, whose dark and saturated were plain shares."""

N_PRODUCTS = N_STATISTICS * (N_STATISTICS - 1) // 2
PAIRS = np.triu_indices(N_STATISTICS, 1)
"""Which two statistics each of the 66 sums of products is of: (rows, columns), intp[66] each."""

MEASURES_VERSION = 3
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


def covariance(
    sums: NDArray[np.int64], squares: NDArray[np.int64], products: NDArray[np.int64], frames: int
) -> NDArray[np.float64]:
    """Return the population covariance over frames of the statistics, f64[12,12]; zeros where there are no frames."""
    count = max(frames, 1)
    centre = sums / count
    second = np.diag(squares / count)
    second[PAIRS] = products / count
    second.T[PAIRS] = second[PAIRS]
    return np.asarray((second - np.outer(centre, centre)) / (SCALE * SCALE), np.float64)


def variances(sums: NDArray[np.int64], squares: NDArray[np.int64], frames: int) -> NDArray[np.float64]:
    """Return the population variance of each column, f64, >= 0; 0 where there are no frames."""
    count = max(frames, 1)
    centre = sums / count
    return np.asarray(np.maximum(squares / count - centre * centre, 0.0) / (SCALE * SCALE), np.float64)
