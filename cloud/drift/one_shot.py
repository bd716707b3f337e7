"""Whether a set of images is like another, asked once: the offline question, without windows to come.

Idea: all current images are one window, judged against the baseline of the reference. Each figure, direction and assumed size
lambda of a change bets on it; the average of the bets is an e-value: were nothing changed, it would reach 1/alpha in at most a
share alpha of such questions, whatever the dependence between figures.

Formula: E = mean over streams and lambda of exp(lambda * (x - margin) - 1.1 * lambda**2 / 2), as in `e_detector` for one window.

Example:
    >>> from cloud.drift.e_detector import one_figure
    >>> log_e_of((one_figure("mean", 0.3, 0.5),)) < 0.0 < log_e_of((one_figure("mean", 6.0, 0.5),))
    True

Source: Vovk and Wang 2021, "E-values: calibration, combination and applications".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cloud.drift.baseline import OUTPUT_FIGURES, Baseline
from cloud.drift.causes import Cause, Evidence, find_fault, sentence_of
from cloud.drift.e_detector import log_bets
from cloud.drift.judge import DriftVerdict, judge_observation
from cloud.drift.observation import Observation
from cloud.drift.policy import DriftPolicy
from cloud.drift.scores import Scores


def log_e_of(scores: Sequence[Scores]) -> float:
    """Return the natural logarithm of the e-value of one window's scores."""
    bets = np.concatenate([log_bets(each).reshape(-1) for each in scores])
    top = float(bets.max())
    return top + math.log(float(np.exp(bets - top).mean()))


def judge_once(
    baseline: Baseline, seen: Observation, policy: DriftPolicy
) -> tuple[DriftVerdict, float, tuple[Evidence, ...]]:
    """Return (the verdict on `seen` alone, its log e-value, the figures beyond their margins, furthest first).

    The verdict's cause is NONE while the e-value is below 1/alpha.
    """
    verdict = judge_observation(baseline, seen, policy)
    given = [scores for scores in (verdict.inputs, verdict.outputs) if scores is not None]
    if find_fault(seen, policy.min_frames) is not Cause.NONE or not given:
        return verdict, math.inf if verdict.cause is not Cause.NONE else 0.0, ()
    log_e = log_e_of(given)
    beyond = sorted((score for score in verdict.scores if score.excess > 2.0), key=lambda score: -score.excess)
    evidence = tuple(Evidence(score.figure, score.level, 0, seen.started_at) for score in beyond)
    if log_e < -math.log(policy.alpha) or not evidence:
        return DriftVerdict(True, Cause.NONE, "like the reference", verdict.inputs, verdict.outputs), log_e, evidence
    inputs_moved = any(item.figure not in OUTPUT_FIGURES for item in evidence)
    cause = Cause.COVARIATE_SHIFT if inputs_moved else Cause.LABEL_SHIFT
    return DriftVerdict(True, cause, sentence_of(evidence), verdict.inputs, verdict.outputs), log_e, evidence
