"""How far one window lies from its station's normal, figure by figure, in window-level standard deviations.

Two-sided: z of each statistic's mean and of the mean logit confidence. One-sided (only a larger distance is news): the
diagonal Hotelling distance of projection means, the distance of random Fourier means (a kernel two-sample statistic), and the
chi-squared distances of the label counts (BBSD: Lipton et al. 2018) and of the coarse confidence histogram.

Each carries its margin: what a shift must exceed before it counts, the larger of 3 standard errors of the baseline's own mean
and the policy's tolerance (DESIGN 4.3).
"""

from __future__ import annotations

import msgspec
import numpy as np

from cloud.drift.baseline import (
    Distance,
    InputBaseline,
    Level,
    OutputBaseline,
    coarse_shares,
    distance,
    share_variances,
)
from cloud.drift.observation import Observation, unpack
from contract.sketches.moments import STATISTICS

INPUT_FIGURES = (*STATISTICS, "scene", "pattern")
OUTPUT_FIGURES = ("confidence", "labels", "confidences")
ONE_SIDED = frozenset({"scene", "pattern", "labels", "confidences"})

_STANDARD_ERRORS = 3.0


class Score(msgspec.Struct, frozen=True):
    """`figure` lies `z` sd from normal; within `margin` sd it does not count."""

    figure: str
    z: float
    margin: float

    @property
    def excess(self) -> float:
        """How far |z| exceeds the margin; one-sided figures count only upwards."""
        return (self.z if self.figure in ONE_SIDED else abs(self.z)) - self.margin


def score_inputs(baseline: InputBaseline, seen: Observation, tolerance: float) -> tuple[Score, ...]:
    """Return the scores of `INPUT_FIGURES`, in that order."""
    means = unpack(seen.means).tolist()
    scores = [
        _level_score(name, level, mean, seen.frames, tolerance)
        for name, level, mean in zip(STATISTICS, baseline.statistics, means, strict=True)
    ]
    scene = distance(
        unpack(seen.projection),
        np.array(baseline.projection),
        np.array(baseline.projection_variances),
        seen.frames,
        baseline.frames,
    )
    fourier = np.array(baseline.fourier)
    pattern = distance(unpack(seen.fourier), fourier, np.ones_like(fourier), seen.frames, baseline.frames)
    scores.append(_distance_score("scene", baseline.projection_distance, scene))
    scores.append(_distance_score("pattern", baseline.fourier_distance, pattern))
    return tuple(scores)


def score_outputs(baseline: OutputBaseline, seen: Observation, tolerance: float) -> tuple[Score, ...]:
    """Return the scores of `OUTPUT_FIGURES`, in that order."""
    answers = seen.answers
    confidence = _level_score("confidence", baseline.confidence, seen.confidence[0], answers, tolerance)
    variances_of = share_variances(baseline.answers / baseline.windows)
    found = []
    for name, shares, usual, normal in (
        ("labels", np.array(seen.labels) / max(answers, 1), np.array(baseline.labels), baseline.labels_distance),
        (
            "confidences",
            coarse_shares(np.array(seen.confidences, np.float64), baseline.cuts),
            np.array(baseline.confidences),
            baseline.confidences_distance,
        ),
    ):
        root = distance(shares, usual, variances_of(usual), answers, baseline.answers)
        found.append(_distance_score(name, normal, root))
    return (confidence, *found)


def _level_score(name: str, level: Level, mean: float, frames: int, tolerance: float) -> Score:
    sd = level.sd(frames)
    # The baseline's own error: its windows were as large as they were, whatever the size of this one.
    error = ((level.between + level.within / max(frames, 1)) / level.windows) ** 0.5
    return Score(name, (mean - level.centre) / sd, max(_STANDARD_ERRORS * error, tolerance * level.within**0.5) / sd)


def _distance_score(name: str, normal: Distance, root: float) -> Score:
    return Score(name, (root - normal.centre) / normal.sd, _STANDARD_ERRORS / normal.windows**0.5)
