"""True accuracy from the random audit sample, each label weighted by how unlikely it was to be drawn.

Formula: weighted share correct, sum(c / p) / sum(1 / p) (Hajek); Wilson interval at the effective sample size
(sum 1/p)**2 / sum 1/p**2 (Kish), which stays within 0..1 and honest at small samples and shares near 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from contract.errors import BadDataset


@dataclass(frozen=True, slots=True)
class AuditLabel:
    """Whether the local answer was `correct`, for a frame that was drawn with probability `inclusion`."""

    correct: bool
    inclusion: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """`estimate` in `low`..`high` with 95 % confidence, from `labels` labels worth `effective` equally likely ones."""

    estimate: float
    low: float
    high: float
    labels: int
    effective: float


def accuracy(labels: Iterable[AuditLabel]) -> Accuracy | None:
    """Return the accuracy on all frames, not on those that were labelled; None without labels.

    Raises:
        BadDataset: an inclusion probability outside 0..1 (0 excluded).
    """
    count, weight, squares, right = 0, 0.0, 0.0, 0.0
    for label in labels:
        if not 0.0 < label.inclusion <= 1.0:
            raise BadDataset(
                f"inclusion probability {label.inclusion} is outside 0..1", hint="use labels of the audit sample only"
            )
        share = 1.0 / label.inclusion
        count, weight, squares = count + 1, weight + share, squares + share * share
        right += share if label.correct else 0.0
    if count == 0:
        return None
    estimate, effective = right / weight, weight * weight / squares
    square = 1.959964**2
    centre = (estimate + square / (2.0 * effective)) / (1.0 + square / effective)
    reach = math.sqrt(square * estimate * (1.0 - estimate) / effective + (square / (2.0 * effective)) ** 2)
    reach /= 1.0 + square / effective
    return Accuracy(estimate, max(centre - reach, 0.0), min(centre + reach, 1.0), count, effective)
