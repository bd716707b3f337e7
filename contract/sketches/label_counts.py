"""What the model answered, how sure it was, and how long it took.

Confidence is binned by its logit, which spreads out the crowded end near 1; latency by its logarithm.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CONFIDENCE_BINS = 64
MAX_CONFIDENCE_ROWS = 16
LOGIT_LIMIT = 8.0

LATENCY_BINS = 64
MIN_LATENCY_US = 10.0
# Bin edges from 10 us to 100 s in equal steps of the logarithm; the end bins are open.
_LATENCY_STEPS_PER_E = LATENCY_BINS / math.log(1e8 / MIN_LATENCY_US)


def confidence_rows(labels: int) -> int:
    """Return how many confidence histograms a window of so many labels has; later labels share the last."""
    return min(labels, MAX_CONFIDENCE_ROWS)


def confidence_bin(confidence: float) -> int:
    """Return the bin 0..63 of a probability; outside 0..1 or NaN it is the nearest end, or the middle."""
    if confidence != confidence:
        return CONFIDENCE_BINS // 2
    if confidence <= 0.0:
        return 0
    if confidence >= 1.0:
        return CONFIDENCE_BINS - 1
    logit = math.log(confidence / (1.0 - confidence))
    position = int((logit + LOGIT_LIMIT) * (CONFIDENCE_BINS / (2.0 * LOGIT_LIMIT)))
    return min(max(position, 0), CONFIDENCE_BINS - 1)


def confidence_centres() -> NDArray[np.float64]:
    """Return the logit at the middle of each confidence bin, f64[64]."""
    steps = (np.arange(CONFIDENCE_BINS) + 0.5) / CONFIDENCE_BINS
    return np.asarray(steps * 2.0 * LOGIT_LIMIT - LOGIT_LIMIT, np.float64)


def latency_bin(latency_us: float) -> int:
    """Return the bin 0..63 of a latency in microseconds."""
    if not latency_us > MIN_LATENCY_US:
        return 0
    # min() first: the logarithm of infinity is no index.
    position = int(math.log(min(latency_us, 1e12) / MIN_LATENCY_US) * _LATENCY_STEPS_PER_E)
    return min(position, LATENCY_BINS - 1)


def latency_quantile_us(counts: NDArray[np.int64], quantile: float) -> float:
    """Return the latency in us below which a share `quantile` of `counts` int64[64] lies (a bin's upper edge); 0 if empty."""
    total = int(counts.sum())
    if total == 0:
        return 0.0
    index = int(np.searchsorted(np.cumsum(counts), quantile * total))
    return MIN_LATENCY_US * math.exp((min(index, LATENCY_BINS - 1) + 1) / _LATENCY_STEPS_PER_E)
