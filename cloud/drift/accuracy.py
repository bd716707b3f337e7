"""True accuracy from the random audit sample, each label weighted by how unlikely it was to be drawn.

Formula: weighted share correct, sum(c / p) / sum(1 / p) (Hajek); Wilson interval at the effective sample size
(sum 1/p)**2 / sum 1/p**2 (Kish), which stays within 0..1 and honest at small samples and shares near 1. Frames on which people
disagree are in the interval and not in the estimate: its low end is what it would be were the answer wrong on all of them, its
high end were it right (worst-case bounds: Manski 1990, "Nonparametric bounds on treatment effects"). To leave them out would
flatter: it is the hard frames on which people disagree, and models are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from contract.errors import BadDataset


@dataclass(frozen=True, slots=True)
class AuditLabel:
    """Whether the local answer was `correct`, for a frame that was drawn with probability `inclusion`; None while people disagree
    on what the frame shows."""

    correct: bool | None
    inclusion: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """`estimate` in `low`..`high` with 95 % confidence, from `labels` labels worth `effective` equally likely ones. The interval
    holds however the `disputed` frames beside them are settled."""

    estimate: float
    low: float
    high: float
    labels: int
    effective: float
    disputed: int = 0


def accuracy(labels: Iterable[AuditLabel]) -> Accuracy | None:
    """Return the accuracy on all frames, not on those that were labelled; None without a label that stands.

    Raises:
        BadDataset: an inclusion probability outside 0..1 (0 excluded).
    """
    count, weight, squares, right = 0, 0.0, 0.0, 0.0
    disputed, unsure, unsure_squares = 0, 0.0, 0.0
    for label in labels:
        if not 0.0 < label.inclusion <= 1.0:
            raise BadDataset(
                f"inclusion probability {label.inclusion} is outside 0..1", hint="use labels of the audit sample only"
            )
        share = 1.0 / label.inclusion
        if label.correct is None:
            disputed, unsure, unsure_squares = disputed + 1, unsure + share, unsure_squares + share * share
            continue
        count, weight, squares = count + 1, weight + share, squares + share * share
        right += share if label.correct else 0.0
    if count == 0:
        return None
    every = weight + unsure
    of_all = every * every / (squares + unsure_squares)
    low, _ = _wilson(right / every, of_all)
    _, high = _wilson((right + unsure) / every, of_all)
    return Accuracy(right / weight, low, high, count, weight * weight / squares, disputed)


def _wilson(estimate: float, effective: float) -> tuple[float, float]:
    square = 1.959964**2
    centre = (estimate + square / (2.0 * effective)) / (1.0 + square / effective)
    reach = math.sqrt(max(square * estimate * (1.0 - estimate) / effective + (square / (2.0 * effective)) ** 2, 0.0))
    reach /= 1.0 + square / effective
    return max(centre - reach, 0.0), min(centre + reach, 1.0)
