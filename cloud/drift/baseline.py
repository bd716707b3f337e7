"""What is normal for one station, learnt from its first windows.

Idea: a window's mean varies by the frames that happen to be in it (within / n) and by everything that moves slower than a
window (between). Both are kept, so that windows of other sizes are judged fairly. The window-level sd comes from few
windows, so it is widened to the upper end of its 95 % confidence interval: taken as it is, 24 windows understate it by a
third one time in twenty, and every later window would look drifted (the finite-reference trap, DESIGN 4.3).

Distances (projection, Fourier, outputs) have no closed null distribution here; each enrolled window is measured against the
baseline of the *others* (leave one out), and cube roots of those distances are taken as normal (Wilson and Hilferty 1931).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.drift.observation import Observation, unpack
from cloud.drift.policy import MIN_ENROL_WINDOWS
from contract.errors import SketchMismatch

Vector = NDArray[np.float64]

# A quarter of a grey level, as a window's mean: what never moved at enrolment must not alarm at the first flicker.
MIN_WINDOW_SD = 1e-3
_MIN_DISTANCE_SD = 0.02
_COARSE_BINS = 5


class Level(msgspec.Struct, frozen=True):
    """Normal of one two-sided figure: its mean, its variance between windows and within (over frames), from how many windows."""

    centre: float
    between: float
    within: float
    windows: int

    def sd(self, frames: int) -> float:
        """Return the sd of the mean of a window of so many frames."""
        return float(max(self.between + self.within / max(frames, 1), MIN_WINDOW_SD**2) ** 0.5)


class Distance(msgspec.Struct, frozen=True):
    """Normal of one distance: mean and sd of its cube root."""

    centre: float
    sd: float
    windows: int


class InputBaseline(msgspec.Struct, frozen=True):
    """Normal of what a station sees. Vectors are tuples, f64[64] for projections and f64[256] for Fourier means."""

    windows: int
    frames: int
    statistics: tuple[Level, ...]
    projection: tuple[float, ...]
    projection_variances: tuple[float, ...]
    projection_distance: Distance
    fourier: tuple[float, ...]
    fourier_distance: Distance


class OutputBaseline(msgspec.Struct, frozen=True):
    """Normal of what a station's model answers: mean logit confidence, and shares of labels and of coarse confidence bins.

    `cuts` are the first fine bins of all coarse ones but the first, placed so that the coarse ones are about equally full.
    """

    windows: int
    answers: int
    confidence: Level
    labels: tuple[float, ...]
    labels_distance: Distance
    cuts: tuple[int, ...]
    confidences: tuple[float, ...]
    confidences_distance: Distance


class Baseline(msgspec.Struct, frozen=True):
    """Normal of one station. `outputs` is None while the outputs of a new model are being enrolled."""

    inputs: InputBaseline
    outputs: OutputBaseline | None = None


def sd_inflation(windows: int) -> float:
    """Return by how much to widen an sd estimated from so many windows: sqrt((N-1) / chi2_{5 %, N-1}).

    Source: Wilson and Hilferty 1931 for the quantile of chi-squared.
    """
    freedom = max(windows - 1, 1)
    spread = 2.0 / (9.0 * freedom)
    quantile = freedom * (1.0 - spread - 1.645 * spread**0.5) ** 3
    return float((freedom / quantile) ** 0.5)


def fit_inputs(observations: Sequence[Observation]) -> InputBaseline:
    """Return the normal of what is seen.

    Raises:
        SketchMismatch: fewer than 12 windows.
    """
    _check_enough(observations)
    frames = np.array([seen.frames for seen in observations], np.float64)
    means = np.stack([unpack(seen.means) for seen in observations])
    within = _weighted(np.stack([unpack(seen.sds) for seen in observations]) ** 2, frames)
    projection = np.stack([unpack(seen.projection) for seen in observations])
    variances = _weighted(np.stack([unpack(seen.projection_variances) for seen in observations]), frames)
    variances = np.maximum(variances, 1e-6)
    fourier = np.stack([unpack(seen.fourier) for seen in observations])
    return InputBaseline(
        windows=len(observations),
        frames=int(frames.sum()),
        statistics=tuple(_level(means[:, column], frames, float(within[column])) for column in range(means.shape[1])),
        projection=tuple(_weighted(projection, frames).tolist()),
        projection_variances=tuple(variances.tolist()),
        projection_distance=_leave_one_out(projection, frames, lambda _: variances),
        fourier=tuple(_weighted(fourier, frames).tolist()),
        fourier_distance=_leave_one_out(fourier, frames, np.ones_like),
    )


def fit_outputs(observations: Sequence[Observation]) -> OutputBaseline:
    """Return the normal of what is answered.

    Raises:
        SketchMismatch: fewer than 12 windows.
    """
    _check_enough(observations)
    answers = np.array([seen.answers for seen in observations], np.float64)
    labels = np.array([seen.labels for seen in observations], np.float64)
    fine = np.array([seen.confidences for seen in observations], np.float64)
    cuts = _equal_cuts(fine.sum(axis=0))
    coarse = np.stack([coarse_shares(row, cuts) for row in fine])
    confidence = np.array([seen.confidence for seen in observations])
    total = float(answers.sum())
    return OutputBaseline(
        windows=len(observations),
        answers=int(total),
        confidence=_level(confidence[:, 0], answers, float(_weighted(confidence[:, 1:] ** 2, answers)[0])),
        labels=tuple((labels.sum(axis=0) / total).tolist()),
        labels_distance=_leave_one_out(labels / answers[:, None], answers, share_variances(total / len(observations))),
        cuts=cuts,
        confidences=tuple(_weighted(coarse, answers).tolist()),
        confidences_distance=_leave_one_out(coarse, answers, share_variances(total / len(observations))),
    )


def coarse_shares(confidences: Vector, cuts: Sequence[int]) -> Vector:
    """Return the share of `confidences`, fine counts [64], in each of the coarse bins that begin at 0 and at `cuts`."""
    return np.asarray(np.add.reduceat(confidences, [0, *cuts]) / max(float(confidences.sum()), 1.0), np.float64)


def distance(mean: Vector, normal: Vector, variances: Vector, frames: float, baseline_frames: float) -> float:
    """Return the cube root of the average squared, variance-scaled difference of two means; about 1 when nothing changed."""
    effective = 1.0 / (1.0 / max(frames, 1.0) + 1.0 / max(baseline_frames, 1.0))
    difference = mean - normal
    return float(np.cbrt(effective * np.mean(difference * difference / variances)))


def share_variances(usual_answers: float) -> Callable[[Vector], Vector]:
    """Return what gives the per-frame variances of shares, each raised by that of one frame in a usual window.

    Without it a single answer in a cell that enrolment hardly saw would weigh like a landslide: chi-squared with tiny
    expected counts has a tail that no 24 windows show.
    """
    return lambda shares: shares + 1.0 / max(usual_answers, 1.0)


def _equal_cuts(counts: Vector) -> tuple[int, ...]:
    """Return up to 4 cuts of the fine bins into coarse ones of about a fifth each."""
    reached = np.cumsum(counts) / counts.sum()
    ends = np.searchsorted(reached, np.arange(1, _COARSE_BINS) / _COARSE_BINS) + 1
    return tuple(sorted({int(end) for end in ends if 0 < end < counts.size}))


def _check_enough(observations: Sequence[Observation]) -> None:
    if len(observations) < MIN_ENROL_WINDOWS:
        raise SketchMismatch(
            f"{len(observations)} windows make no baseline", hint=f"enrol at least {MIN_ENROL_WINDOWS} windows"
        )


def _weighted(values: Vector, weights: Vector) -> Vector:
    return np.asarray(weights @ values / weights.sum(), np.float64)


def _level(means: Vector, frames: Vector, within: float) -> Level:
    windows = means.size
    usual = windows / float((1.0 / frames).sum())
    widened = float(means.var(ddof=1)) * sd_inflation(windows) ** 2
    return Level(float(frames @ means / frames.sum()), max(widened - within / usual, 0.0), within, windows)


def _leave_one_out(means: Vector, frames: Vector, variances: Callable[[Vector], Vector]) -> Distance:
    windows, total = frames.size, float(frames.sum())
    summed = frames @ means
    roots = []
    for index in range(windows):
        others = total - frames[index]
        normal = (summed - frames[index] * means[index]) / others
        roots.append(distance(means[index], normal, variances(normal), float(frames[index]), float(others)))
    spread = float(np.std(roots, ddof=1)) * sd_inflation(windows)
    return Distance(float(np.mean(roots)), max(spread, _MIN_DISTANCE_SD), windows)
