"""Which stations of a fleet have changed, when thousands are watched at once: e-d-BH.

Idea: of all alarms raised, few should be false. Benjamini-Hochberg on e-values needs no independence: with K streams sorted by
e-value, alarm for the k* largest, k* = max{k: e_(k) >= K / (alpha * k)}.

What it promises is no fixed share of false alarms: of e-detectors, which alarm falsely after a finite time, nothing can. It is
the error over patience: the mean share of false ones among the alarms at any moment is at most alpha for each window watched
until then. And a fleet on which nothing changes raises its first alarm after 1 / alpha windows or more on average, for
e_(k) >= K / (alpha * k) needs an average e-value of 1 / alpha.

A cause that many stations share is one more stream: its null says that fewer than m members changed, and the average of the
K - m + 1 smallest e-values is an e-value for it (partial conjunction).

    >>> sorted(discoveries({"a": 9.0, "b": 1.0, "c": 8.0}, alpha=0.001))
    ['a', 'c']

Source: Wang and Ramdas 2022 (e-BH); Dandapanthula and Ramdas 2025, arXiv 2501.04130 (e-detectors).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np


def discoveries(log_e: Mapping[str, float], alpha: float, count: int | None = None) -> frozenset[str]:
    """Return the names of the streams that have changed.

    Args:
        log_e: natural logarithm of each stream's e-value; streams below -log(alpha) may be left out.
        alpha: the mean share of false discoveries allowed for each window watched.
        count: how many streams there are, where `log_e` leaves some out.
    """
    count = len(log_e) if count is None else count
    # No threshold is below 1 / alpha, so most fleets are done here.
    candidates = sorted(
        ((value, name) for name, value in log_e.items() if value >= -math.log(alpha)), key=lambda pair: -pair[0]
    )
    found = 0
    for rank, (value, _) in enumerate(candidates, start=1):
        if value >= math.log(count / (alpha * rank)):
            found = rank
    return frozenset(name for _, name in candidates[:found])


def members_needed(count: int, share: float) -> int:
    """Return how many of `count` members must have changed for a cause to be called shared."""
    return max(math.ceil(share * count), 2)


def shared_log_e(log_e: Sequence[float], share: float) -> float:
    """Return the logarithm of the e-value against "fewer than `share` of these streams, and fewer than 2, changed"."""
    count = len(log_e)
    needed = members_needed(count, share)
    smallest = np.sort(np.asarray(log_e, np.float64))[: count - needed + 1]
    if smallest.size == 0:
        return -math.inf
    top = float(smallest.max())
    return top + math.log(float(np.exp(smallest - top).mean()))
