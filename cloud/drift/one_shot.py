"""Whether a set of images is like another, asked once: the offline question, without windows to come.

Idea: all current images are one window, judged against the baseline of the reference. Each figure, direction and assumed size
lambda of a change bets on it; the average of the bets is an e-value: were nothing changed, it would reach 1/alpha in at most a
share alpha of such questions, whatever the dependence between figures.

It holds as far as means of so many frames are normal: with 8 images against 48 it was reached by 4 in 1,000 for Gaussian
figures before T was corrected for its estimated correlation, and by more for heavy-tailed ones. Give more images where you can.

Formula: E = mean over streams (by stakes) and lambda of exp(lambda * (z - trifle) - 1.1 * lambda**2 / 2), as `e_detector` bets on
one window. A baseline that is asked once is one of two samples: its own error is part of the sd of z, and no margin against
being asked again and again is needed. All statistics together: the cube root of T = z' R^-1 z / F (`detectors.together`) is
normal about 1 - 2/9F with variance 2/9F (Wilson and Hilferty 1931), and that of the error of the statistics' own variances.

Example:
    >>> from cloud.drift.e_detector import one_figure
    >>> log_e_of((one_figure("mean", 0.3, 0.0),)) < 0.7 < 9.0 < log_e_of((one_figure("mean", 6.0, 0.0),))
    True

Source: Vovk and Wang 2021, "E-values: calibration, combination and applications"; Hotelling 1931 (two samples).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cloud.drift.baseline import InputBaseline
from cloud.drift.causes import Cause, Evidence, fault_sentence, find_fault, sentence_of
from cloud.drift.e_detector import average_of, log_bets
from cloud.drift.judge import DriftVerdict
from cloud.drift.observation import Observation, unpack
from cloud.drift.scores import Scores
from cloud.drift.vectors import from_bytes
from contract.sketches.moments import N_STATISTICS

_LEAST_EXACT = 0.3


def log_e_of(scores: Sequence[Scores]) -> float:
    """Return the natural logarithm of the e-value of one window's scores."""
    return average_of([(each.figures, log_bets(each)) for each in scores])


def score_once(baseline: InputBaseline, seen: Observation, tolerance: float) -> Scores:
    """Return the scores of `baseline.figures` for a question that is asked once."""
    levels = baseline.levels
    values = np.append(unpack(seen.means), (baseline.scene.root(seen), baseline.pattern.root(seen)))
    alone, error = levels.spread(seen.frames), levels.error()
    both = np.sqrt(alone * alone + error * error)
    z = levels.residual(values, seen.frames, None) * alone / both
    trifle = tolerance * np.sqrt(from_bytes(levels.within)) / both
    spread = 2.0 / (9.0 * N_STATISTICS)
    unsure = 2.0 / (9.0 * levels.windows * levels.usual)
    # A correlation that was estimated makes T too large by this much (Hotelling's T-squared is F distributed).
    frames = levels.windows * levels.usual
    exact = max((frames - N_STATISTICS - 1.0) / max(frames - 1.0, 1.0), _LEAST_EXACT)
    root = baseline.together.root(z[:N_STATISTICS]) * exact ** (1.0 / 3.0)
    together = (root - (1.0 - spread)) / math.sqrt(spread + unsure)
    z = np.append(z, together)
    return Scores(baseline.figures, z, np.append(trifle, 0.0), z, z)


def judge_once(
    baseline: InputBaseline, seen: Observation, alpha: float, tolerance: float
) -> tuple[DriftVerdict, float, tuple[Evidence, ...]]:
    """Return (the verdict on `seen` alone, its log e-value, the figures that lie far off, furthest first).

    The verdict's cause is NONE while the e-value is below 1/alpha.
    """
    fault = find_fault(seen, 1)
    if fault is not Cause.NONE:
        return DriftVerdict(True, fault, fault_sentence(fault, 1)), math.inf, ()
    scores = score_once(baseline, seen, tolerance)
    log_e = log_e_of((scores,))
    far = sorted((score for score in scores if score.excess > 3.0), key=lambda score: -score.excess)
    evidence = tuple(Evidence(score.figure, score.level, 0, seen.started_at) for score in far)
    if log_e < -math.log(alpha):
        return DriftVerdict(True, Cause.NONE, "like the reference", scores), log_e, evidence
    sentence = sentence_of(evidence) if evidence else "many figures a little"
    return DriftVerdict(True, Cause.COVARIATE_SHIFT, sentence, scores), log_e, evidence
