"""64-bin histograms of the frame statistics, over edges frozen at enrolment.

Edges are the enrolled centre +- 4 sd, the end bins open, so every value lands in a bin and two windows of one reference
always merge. Fixed bins and not quantile sketches: a KS test on KLL(200) has 15 % false positives at n = 10,000 (DESIGN 4).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 64
REACH_SD = 4.0


def bin_indices(values: NDArray[np.float64], centre: NDArray[np.float64], sd: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin 0..63 of each of `values` f64[...,S], given `centre` and `sd` f64[S]."""
    position = (values - centre) * (BINS / (2.0 * REACH_SD)) / sd + BINS / 2.0
    return np.clip(np.floor(position), 0, BINS - 1).astype(np.int64)


def edges(centre: NDArray[np.float64], sd: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 65 bin edges of each statistic, f64[S,65]; the outermost two stand for minus and plus infinity."""
    steps = np.linspace(-REACH_SD, REACH_SD, BINS + 1)
    return np.asarray(centre[:, None] + steps[None, :] * sd[:, None], np.float64)
