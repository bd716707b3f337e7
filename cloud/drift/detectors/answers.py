"""Whether the model answers as it used to: chi-squared distances of its labels and of its confidence (BBSD).

Idea: a change of the defect rate is invisible to every test of the images; the answers show it. And a model that grows unsure
without any label changing shows in the histogram of its confidence.

Formula: root(mean over cells of n_eff (share - usual)^2 / (usual + 1 / n)) for the label counts, and for the confidences in 5
bins that enrolment filled evenly (`distance.root_distance`, `distance.share_variances`).

Example:
    >>> even = Shares((0.5, 0.5), (), 1000, 50.0)
    >>> even.root_of(np.array([25.0, 25.0])) < 0.5 < 1.5 < even.root_of(np.array([45.0, 5.0]))
    True

Source: Lipton, Wang, Smola 2018 (black-box shift detection); Rabanser et al. 2019; Pearson 1900.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from cloud.drift.detectors.distance import (
    NO_SWAYS,
    Sways,
    fit_distances,
    root_distance,
    share_variances,
    weighted,
)
from cloud.drift.observation import Observation
from cloud.drift.vectors import Vector

LABELS, CONFIDENCES = "labels", "confidences"
_COARSE_BINS = 5


class Shares(msgspec.Struct, frozen=True):
    """`usual` shares of cells, over so many `answers`, `a_window` each.

    `cuts` are the first fine cells of all coarse ones but the first; none where the cells are taken as they are.
    """

    usual: tuple[float, ...]
    cuts: tuple[int, ...]
    answers: int
    a_window: float
    sways: Sways = NO_SWAYS

    def root_of(self, counts: Vector) -> float:
        """Return the fourth root of the distance of `counts` f64[cells]; about 1 when nothing changed."""
        shares, answers = _shares(counts, self.cuts), float(counts.sum())
        usual = np.array(self.usual)
        return root_distance(shares, usual, share_variances(self.a_window)(usual), answers, self.answers, self.sways)


def fit_labels(observations: Sequence[Observation]) -> tuple[Shares, Vector]:
    """Return (the usual mix of labels, the leave-one-out roots f64[N] of the windows behind it)."""
    return _fit(np.array([seen.labels for seen in observations], np.float64), ())


def fit_confidences(observations: Sequence[Observation]) -> tuple[Shares, Vector]:
    """Return (the usual confidences, the leave-one-out roots f64[N] of the windows behind it)."""
    fine = np.array([seen.confidences for seen in observations], np.float64)
    return _fit(fine, _equal_cuts(fine.sum(axis=0)))


def _fit(counts: Vector, cuts: tuple[int, ...]) -> tuple[Shares, Vector]:
    answers = counts.sum(axis=1)
    shares = np.stack([_shares(row, cuts) for row in counts])
    a_window = float(answers.mean())
    mean, variances = weighted(shares, answers), share_variances(a_window)
    sways, roots = fit_distances(shares, answers, variances)
    usual = Shares(tuple(mean.tolist()), cuts, int(answers.sum()), a_window, sways)
    return usual, roots


def _shares(counts: Vector, cuts: Sequence[int]) -> Vector:
    cells = np.add.reduceat(counts, [0, *cuts]) if cuts else counts
    return np.asarray(cells / max(float(counts.sum()), 1.0), np.float64)


def _equal_cuts(counts: Vector) -> tuple[int, ...]:
    """Return up to 4 cuts of the fine cells into coarse ones of about a fifth each."""
    reached = np.cumsum(counts) / counts.sum()
    ends = np.searchsorted(reached, np.arange(1, _COARSE_BINS) / _COARSE_BINS) + 1
    return tuple(sorted({int(end) for end in ends if 0 < end < counts.size}))
