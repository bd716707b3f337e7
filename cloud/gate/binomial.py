"""Exact bounds on a share, from counts."""

from __future__ import annotations


def upper_bound(hits: int, trials: int, confidence: float) -> float:
    """Return the one-sided Clopper-Pearson upper bound on the share behind `hits` of `trials`; 1 when there are no trials.

    Source: Clopper & Pearson 1934.
    """
    if trials == 0 or hits >= trials:
        return 1.0
    from scipy.special import betaincinv  # a worker that takes messages in reads settings, and needs no scipy

    return float(betaincinv(hits + 1, trials - hits, confidence))


def lower_bound(hits: int, trials: int, confidence: float) -> float:
    """Return the one-sided Clopper-Pearson lower bound; 0 when there are no trials."""
    if trials == 0 or hits <= 0:
        return 0.0
    from scipy.special import betaincinv

    return float(betaincinv(hits, trials - hits + 1, 1 - confidence))
