"""How surely a detector tells one drifted window from quiet ones, at 1 % false positives: table 2 of `bench drift`.

Many random splits of the tiles into reference, calibration and test, no tile in two. In each split a detector is fitted to the
reference frames at the nominal exposure and scores windows of n frames: quiet ones of calibration tiles, and of test tiles
both quiet ones and the same tiles drifted. One limit, the 99 % quantile of the calibration scores of *all* splits, as one
limit is set for all stations of a fleet; it then holds on average over references, not for each. What false positives it
really gives on test tiles is reported beside the power.

Every detector sees the same windows. A window of 100 frames is larger than the test part: it repeats some tiles (`tiles.draw`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scripts.benches.share_interval import Estimate, clustered_share
from scripts.benches.tiles import DRIFTS, Condition, TileFrame, TilePool, draw, split_tiles

FALSE_POSITIVES = 0.01


class WindowScorer(Protocol):
    """A detector, fitted once to a reference and then asked of windows one by one; it must not learn from them.

    One that looks at sketches alone is `fit(Sequence[FrameStats])` and `score(Sequence[FrameStats])`: a `TileFrame` is a
    `FrameStats`.
    """

    def fit(self, reference: Sequence[TileFrame]) -> None:
        """Learn what is normal from frames of the reference tiles, one each."""

    def score(self, window: Sequence[TileFrame]) -> float:
        """Return how far `window` is from normal: larger is further; the scale is the scorer's own."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A detector by its name.

    `make(frames)` returns a fresh one for windows of so many frames. `limit(frames, reference_frames)` is the score above
    which the convention says drift, where there is one.
    """

    key: str
    make: Callable[[int], WindowScorer]
    limit: Callable[[int, int], float] | None = None


@dataclass(frozen=True, slots=True)
class Effort:
    """Splits, and of each the calibration windows and the test windows of every condition."""

    splits: int = 400
    calibration: int = 3
    test: int = 1


@dataclass(frozen=True, slots=True)
class Power:
    """What one detector does at windows of one size.

    `false_positives`: share of quiet test windows beyond the calibrated limit, 1 % where calibration holds.
    `conventional`: share of all quiet windows beyond the limit of its convention, if it has one. `power`: share of windows
    found, by drift, at the calibrated limit.
    """

    false_positives: Estimate
    conventional: Estimate | None
    power: Mapping[Condition, Estimate]


@dataclass(frozen=True, slots=True)
class Limit:
    """Alarms beyond `score`, and on it with probability `on_it`: scores that tie still give the rate that was asked for."""

    score: float
    on_it: float

    def alarms(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability of an alarm at each of `scores`."""
        return np.where(scores > self.score, 1.0, np.where(scores == self.score, self.on_it, 0.0))


def calibrate(quiet: NDArray[np.float64], rate: float) -> Limit:
    """Return the limit that a share `rate` of the `quiet` scores exceeds.

    >>> calibrate(np.arange(200.0), 0.01)
    Limit(score=197.0, on_it=0.0)
    """
    ordered = np.sort(quiet, axis=None)
    score = float(ordered[max(int(np.ceil((1.0 - rate) * ordered.size)) - 1, 0)])
    beyond, on_it = float((ordered > score).mean()), float((ordered == score).mean())
    return Limit(score, min(max((rate - beyond) / on_it, 0.0), 1.0))


def measure_power(pool: TilePool, contender: Contender, frames: int, effort: Effort) -> Power:
    """Return what `contender` does at windows of `frames` frames of `pool`."""
    calibration = np.empty((effort.splits, effort.calibration))
    test = {condition: np.empty((effort.splits, effort.test)) for condition in Condition}
    reference_frames = 0
    for split_seed in range(effort.splits):
        split = split_tiles(pool.tiles, split_seed)
        rng = np.random.default_rng((split_seed, frames))
        scorer = contender.make(frames)
        scorer.fit(pool.pick(Condition.NOMINAL, split.reference))
        reference_frames = split.reference.size
        for at in range(effort.calibration):
            window = draw(split.calibration, frames, rng)
            calibration[split_seed, at] = scorer.score(pool.pick(Condition.NOMINAL, window))
        for at in range(effort.test):
            window = draw(split.test, frames, rng)
            for condition, scores in test.items():
                scores[split_seed, at] = scorer.score(pool.pick(condition, window))
    limit = calibrate(calibration, FALSE_POSITIVES)
    quiet = np.concatenate((calibration, test[Condition.NOMINAL]), axis=1)
    conventional = None
    if contender.limit is not None:
        conventional = clustered_share(quiet > contender.limit(frames, reference_frames))
    return Power(
        clustered_share(limit.alarms(test[Condition.NOMINAL])),
        conventional,
        {condition: clustered_share(limit.alarms(test[condition])) for condition in DRIFTS},
    )
