"""What is normal for one station, learnt from its first windows: one normal per detector, and whether it can be believed.

Windows that lie far out while the rest agree (a hand before the lens, a lamp switched on late) are left out of the baseline; where
they are many, or where what was seen moved while it was learnt, the baseline says that it is doubtful and why. A doubtful
baseline is used all the same, for no baseline sees nothing; a person may have the station learnt anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.drift.detectors import answers, distance, pattern, scene
from cloud.drift.detectors.levels import Before, Levels, check_enough, fit_levels
from cloud.drift.detectors.together import Together, fit_together, scale_margin
from cloud.drift.observation import Observation, union_of, unpack
from cloud.drift.vectors import Vector, from_bytes
from contract.sketches.distinct import distinct_estimate
from contract.sketches.moments import N_STATISTICS, STATISTICS, STATISTICS_OF_1

TOGETHER = "together"
CONFIDENCE = "confidence"
INPUT_FIGURES = (*STATISTICS, scene.NAME, pattern.NAME, TOGETHER)
OUTPUT_FIGURES = (CONFIDENCE, answers.LABELS, answers.CONFIDENCES)
ONE_SIDED = frozenset({TOGETHER, scene.NAME, pattern.NAME, answers.LABELS, answers.CONFIDENCES})

# A quarter of a grey level, as a window's mean: what never moved at enrolment must not alarm at the first flicker.
MIN_WINDOW_SD = 1e-3
_FAR_OUT = 8.0
_MOST_FAR_OUT = 0.1
_MOVED_SE = 8.0
_MOSTLY = 0.5
# The sketch counts distinct frames to 6.5 %.
_NEARLY_ALL = 0.85


class InputBaseline(msgspec.Struct, frozen=True):
    """Normal of what a station sees, from so many `windows`; `doubts` say in words why it may be none.

    `levels` are of the statistics, the scene and its pattern, `together_level` of the root of `together`, whose margin is wider by
    `together_scale`. `left_out` windows lay far out.
    """

    windows: int
    levels: Levels
    scene: scene.Scene
    pattern: pattern.Pattern
    together: Together
    together_level: Levels
    together_scale: float
    left_out: int = 0
    doubts: tuple[str, ...] = ()

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures that are judged, in order."""
        return (*self.levels.names, TOGETHER)


class OutputBaseline(msgspec.Struct, frozen=True):
    """Normal of what a station's model answers; `levels` are of `OUTPUT_FIGURES`."""

    windows: int
    levels: Levels
    labels: answers.Shares
    confidences: answers.Shares


class Baseline(msgspec.Struct, frozen=True):
    """Normal of one station. `outputs` is None while the outputs of a new model are being enrolled."""

    inputs: InputBaseline
    outputs: OutputBaseline | None = None


def fit_inputs(observations: Sequence[Observation], *, independent: bool = False) -> InputBaseline:
    """Return the normal of what is seen in `observations`, which are in order.

    `independent`: no order, in time or otherwise, put these frames into these windows (`levels.fit_levels`).

    Raises:
        SketchMismatch: fewer than 12 windows.
    """
    check_enough(len(observations))
    far = _far_out(np.stack([unpack(seen.means) for seen in observations]))
    most = _MOST_FAR_OUT * len(observations)
    kept = [seen for seen, out in zip(observations, far, strict=True) if not out]
    if 0.9 * len(kept) <= (told := sum(seen.clock_synced for seen in kept)) < len(kept) and told >= 12:
        # A reboot before the time server answers must not cost the station its season.
        kept = [seen for seen in kept if seen.clock_synced]
    left_out = len(observations) - len(kept)
    if left_out > most or len(kept) < max(len(observations) - most, 12):
        # They are part of what is normal here, or nothing is.
        kept, left_out = list(observations), 0
    frames = np.array([seen.frames for seen in kept], np.float64)
    means = np.stack([unpack(seen.means) for seen in kept])
    within = distance.weighted(np.stack([unpack(seen.sds) for seen in kept]) ** 2, frames)
    usual_scene, scene_roots = scene.fit_scene(kept)
    usual_pattern, pattern_roots = pattern.fit_pattern(kept)
    values = np.concatenate((means, scene_roots[:, None], pattern_roots[:, None]), axis=1)
    floors = np.array([MIN_WINDOW_SD] * N_STATISTICS + [distance.FLOOR] * 2)
    distinct = _distinct_share(kept, frames)
    times = _times(kept)
    named = STATISTICS if kept[0].features > 1 else STATISTICS_OF_1
    names = (*named, scene.NAME, pattern.NAME)
    levels = fit_levels(
        names,
        times,
        values,
        np.append(within, (0.0, 0.0)),
        frames,
        floors=floors,
        gaps_s=np.diff(np.array([seen.started_at for seen in kept])),
        independent=independent,
        distinct=distinct,
    )
    news = _enrolled_news(levels, kept, values, frames, times)[:, :N_STATISTICS]
    together, roots = fit_together(news, _of_frames(levels, kept, frames))
    together_level = fit_levels(
        (TOGETHER,),
        None,
        roots[:, None],
        np.zeros(1),
        frames,
        floors=np.array([distance.FLOOR]),
        independent=independent,
        distinct=distinct,
    )
    return InputBaseline(
        len(kept),
        levels,
        usual_scene,
        usual_pattern,
        together,
        together_level,
        scale_margin(together_level, int(frames.sum()) if independent else len(kept)),
        left_out,
        _doubts(levels, means, int(far.sum()), len(observations)),
    )


def fit_outputs(observations: Sequence[Observation]) -> OutputBaseline:
    """Return the normal of what is answered in `observations`, which are in order and each have answers.

    Raises:
        SketchMismatch: fewer than 12 windows.
    """
    check_enough(len(observations))
    told = np.array([seen.answers for seen in observations], np.float64)
    confidence = np.array([seen.confidence for seen in observations])
    labels, label_roots = answers.fit_labels(observations)
    confidences, confidence_roots = answers.fit_confidences(observations)
    values = np.stack((confidence[:, 0], label_roots, confidence_roots), axis=1)
    within = np.array([float(distance.weighted(confidence[:, 1] ** 2, told)), 0.0, 0.0])
    floors = np.array([MIN_WINDOW_SD, distance.FLOOR, distance.FLOOR])
    levels = fit_levels(
        OUTPUT_FIGURES,
        _times(observations),
        values,
        within,
        told,
        floors=floors,
        gaps_s=np.diff(np.array([seen.started_at for seen in observations])),
        distinct=_distinct_share(observations, told),
    )
    return OutputBaseline(len(observations), levels, labels, confidences)


def _distinct_share(observations: Sequence[Observation], frames: Vector) -> float:
    """Return which share of all frames differ from one another, 1 where that is not known or nearly so."""
    registers = union_of(observations)
    if registers is None:
        return 1.0
    share = distinct_estimate(registers) / float(frames.sum())
    return share if share < _NEARLY_ALL else 1.0


def moment(seen: Observation) -> float | None:
    """Return the time of day that a window stands for, Unix seconds; None when the station did not trust its clock."""
    return (seen.started_at + seen.ended_at) / 2.0 if seen.clock_synced else None


def _times(observations: Sequence[Observation]) -> Vector | None:
    moments = [moment(seen) for seen in observations]
    known = [at for at in moments if at is not None]
    times = np.array(known)
    # A clock that was set back in between makes the whole order of times worthless, and with it any season.
    return times if len(known) == len(moments) and (np.diff(times) > 0.0).all() else None


def _far_out(means: Vector) -> NDArray[np.bool_]:
    """Return which of `means` f64[N,12] lie far from the rest in some statistic."""
    middle = np.median(means, axis=0)
    apart = np.abs(means - middle)
    # The median deviation of a figure that hardly ever moves is 0, and everything would be far from it.
    robust_sd = np.maximum(1.4826 * np.median(apart, axis=0), 4.0 * MIN_WINDOW_SD)
    return np.asarray((apart > _FAR_OUT * robust_sd).any(axis=1))


def _enrolled_news(
    levels: Levels, observations: Sequence[Observation], values: Vector, frames: Vector, times: Vector | None
) -> Vector:
    news = []
    before: Before | None = None
    for index, row in enumerate(values):
        residual = levels.residual(row, float(frames[index]), None if times is None else float(times[index]))
        gap_s = observations[index].started_at - observations[index - 1].started_at if index else 0.0
        if before is not None:
            before = replace(before, gap_s=gap_s)
        news.append(levels.news(residual, before)[0])
        before = Before(residual, 0.0, np.zeros(0) if before is None else before.residual)
    # Each window helped to make the baseline that it is measured by; a later one will lie further away.
    terms = 1.0 + levels.season.terms()
    return np.asarray(np.array(news) * ((levels.windows + terms) / (levels.windows - terms)) ** 0.5)


def _of_frames(levels: Levels, observations: Sequence[Observation], frames: Vector) -> Vector | None:
    """Return how the statistics of a usual window correlate as far as single frames tell, f64[12,12]."""
    if not all(seen.covariance for seen in observations):
        return None
    covariance = distance.weighted(np.stack([unpack(seen.covariance) for seen in observations]), frames)
    covariance = covariance.reshape(N_STATISTICS, N_STATISTICS) / levels.usual
    total = np.maximum(from_bytes(levels.sd)[:N_STATISTICS] ** 2, MIN_WINDOW_SD**2)
    total = np.maximum(total, np.diagonal(covariance))
    correlation = covariance / np.sqrt(np.outer(total, total))
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation)


def _doubts(levels: Levels, means: Vector, far: int, windows: int) -> tuple[str, ...]:
    """Return why this may not be what is normal."""
    doubts = []
    if far > _MOST_FAR_OUT * windows:
        doubts.append(f"{far} of {windows} windows lie far from the rest")
    half = len(means) // 2
    phi = from_bytes(levels.phi)[:N_STATISTICS]
    apart = np.abs(means[half:].mean(axis=0) - means[:half].mean(axis=0))
    error = np.sqrt(
        (means[:half].var(axis=0, ddof=1) + means[half:].var(axis=0, ddof=1)) / half * (1.0 + phi) / (1.0 - phi)
    )
    moved = (apart > _MOVED_SE * np.maximum(error, MIN_WINDOW_SD)) & (apart > 4.0 * MIN_WINDOW_SD)
    if moved.any() and not levels.season.coefficients:
        names = ", ".join(name for name, has in zip(STATISTICS, moved, strict=True) if has)
        doubts.append(f"{names} moved while it was learnt")
    usual = dict(zip(STATISTICS, means.mean(axis=0).tolist(), strict=True))
    # Square roots of shares of pixels.
    if usual["saturated"] ** 2 > _MOSTLY:
        doubts.append("more than half of each frame is white")
    if usual["dark"] ** 2 > _MOSTLY and usual["spread"] < 0.02:
        doubts.append("frames are nearly black")
    return tuple(doubts)
