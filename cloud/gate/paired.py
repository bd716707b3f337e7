"""Two models on the same images: how much worse one may be, and whether its lead is more than chance."""

from __future__ import annotations

import math
from statistics import NormalDist

from cloud.gate.scorecard import PairedFigures

_STEPS = 60


def worse_by_at_most(pairs: PairedFigures, confidence: float) -> float:
    """Return the one-sided upper bound on how much less accurate the candidate is; negative when it is surely better.

    Only images that one of them names right and the other does not carry information. The bound is where the score test of
    "worse by this much" is just not rejected; 1 without images.

    Source: Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design". Bounding both shares exactly and adding the bounds (Bonferroni) was tried first: on 180 images it refused a model
    that lost two images and won one.
    """
    if pairs.images == 0:
        return 1.0
    limit = NormalDist().inv_cdf(confidence)
    low, high = (pairs.only_incumbent - pairs.only_candidate) / pairs.images, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _score(pairs, middle) > -limit:
            low = middle
        else:
            high = middle
    return high


def chance_of_lead(pairs: PairedFigures) -> float:
    """Return how likely so large a lead is when both are equally good: McNemar's test, exact and one-sided."""
    discordant = pairs.only_candidate + pairs.only_incumbent
    ways = sum(math.comb(discordant, k) for k in range(pairs.only_candidate, discordant + 1))
    return ways / (1 << discordant)


def swapped(pairs: PairedFigures) -> PairedFigures:
    """Return the same pairs seen from the incumbent."""
    return PairedFigures(pairs.images, pairs.only_incumbent, pairs.only_candidate)


def _score(pairs: PairedFigures, difference: float) -> float:
    """Return Tango's score: how many standard deviations the counts lie above a true loss of `difference`."""
    images, lost, won = pairs.images, pairs.only_incumbent, pairs.only_candidate
    linear = (2 * images - lost + won) * difference - lost - won
    constant = -won * difference * (1 - difference)
    # The likeliest share of images that only the candidate names right, given the difference.
    share = (math.sqrt(max(0.0, linear**2 - 8 * images * constant)) - linear) / (4 * images)
    variance = images * (2 * share + difference * (1 - difference))
    distance = lost - won - images * difference
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)
