"""How far one window lies from its station's normal, figure by figure, and how much of that is news.

Two-sided: each statistic, and the mean logit confidence. One-sided (only a larger distance is news): all statistics together, the
scene, its pattern, the mix of labels, the histogram of confidence. What each means stands with its detector (`detectors`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cloud.drift.baseline import ONE_SIDED, OUTPUT_FIGURES, InputBaseline, OutputBaseline, moment
from cloud.drift.detectors.levels import Before
from cloud.drift.observation import Observation, unpack
from cloud.drift.vectors import Vector
from contract.sketches.moments import N_STATISTICS


@dataclass(frozen=True, slots=True)
class Score:
    """`figure` lies `level` sd from normal, of which `z` is news; news within `margin` does not count."""

    figure: str
    z: float
    margin: float
    level: float

    @property
    def excess(self) -> float:
        """Return by how much the news exceeds its margin; below 0 when it does not."""
        return (self.z if self.figure in ONE_SIDED else abs(self.z)) - self.margin


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The scores of one window. `z`, `margin` and `level` are f64[F], in the order of `figures`.

    `residual` f64[] is what the next window of the station is foretold from.
    """

    figures: tuple[str, ...]
    z: Vector
    margin: Vector
    level: Vector
    residual: Vector

    def __iter__(self) -> Iterator[Score]:
        return iter(map(Score, self.figures, self.z.tolist(), self.margin.tolist(), self.level.tolist()))


def score_inputs(
    baseline: InputBaseline, seen: Observation, tolerance: float, before: Before | None = None, caution: float = 0.0
) -> Scores:
    """Return the scores of `baseline.figures`; `caution` is added to every margin."""
    levels = baseline.levels
    values = np.append(unpack(seen.means), (baseline.scene.root(seen), baseline.pattern.root(seen)))
    residual = levels.residual(values, seen.frames, moment(seen))
    news, foretold = levels.news(residual, before)
    root = np.array([baseline.together.root(news[:N_STATISTICS])])
    together = baseline.together_level.residual(root, seen.frames, None)
    margin = levels.margin(seen.frames, foretold, tolerance)
    alike = baseline.together_level.margin(seen.frames, np.zeros(1), 0.0) + baseline.together_scale
    return Scores(
        baseline.figures,
        np.append(news, together),
        np.append(margin, alike) + caution,
        np.append(residual, together),
        residual,
    )


def score_outputs(
    baseline: OutputBaseline, seen: Observation, tolerance: float, before: Before | None = None, caution: float = 0.0
) -> Scores:
    """Return the scores of `OUTPUT_FIGURES`; `caution` is added to every margin."""
    levels, told = baseline.levels, seen.answers
    labels, confidences = np.array(seen.labels, np.float64), np.array(seen.confidences, np.float64)
    values = np.array(
        (seen.confidence[0], baseline.labels.root_of(labels), baseline.confidences.root_of(confidences)), np.float64
    )
    residual = levels.residual(values, told, moment(seen))
    news, foretold = levels.news(residual, before)
    return Scores(OUTPUT_FIGURES, news, levels.margin(told, foretold, tolerance) + caution, residual, residual)
