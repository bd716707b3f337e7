"""One window against one baseline: the public door for those who keep no state (DESIGN 2, the summary line)."""

from __future__ import annotations

from dataclasses import dataclass

from cloud.drift.baseline import OUTPUT_FIGURES, Baseline
from cloud.drift.causes import Cause, Evidence, fault_sentence, find_fault
from cloud.drift.detectors.levels import Before
from cloud.drift.observation import Observation, WindowRecord, observation
from cloud.drift.policy import DriftPolicy
from cloud.drift.scores import Score, Scores, score_inputs, score_outputs
from contract.sketches.window import Window


@dataclass(frozen=True, slots=True)
class DriftVerdict:
    """What one window says by itself; an alarm needs several to agree (`watch`).

    `judged` is False when the window is too small to say anything. `cause` is a fault, or the shift that this window alone
    would suggest, or NONE. `inputs` and `outputs` are the scores, the latter None without an enrolled output baseline.
    """

    judged: bool
    cause: Cause
    sentence: str
    inputs: Scores | None = None
    outputs: Scores | None = None

    @property
    def scores(self) -> tuple[Score, ...]:
        """Every score, of what is seen and of what is answered."""
        return tuple(score for scores in (self.inputs, self.outputs) if scores is not None for score in scores)


def judge_drift(baseline: Baseline, window: Window, policy: DriftPolicy, at: float | None = None) -> DriftVerdict:
    """Return what `window` says of its station, given the station's `baseline`.

    `at` (Unix seconds) is the middle of the window; without it any season is part of what is normal.
    """
    record = WindowRecord("", "", 0, at or 0.0, at or 0.0, window, clock_synced=at is not None)
    return judge_observation(baseline, observation(record), policy)


def judge_observation(
    baseline: Baseline,
    seen: Observation,
    policy: DriftPolicy,
    before: tuple[Before | None, Before | None] = (None, None),
) -> DriftVerdict:
    """Return what the window behind `seen` says, as `judge_drift`; `before` are the (inputs, outputs) of the one before it."""
    fault = find_fault(seen, policy.min_frames)
    if fault is not Cause.NONE:
        return DriftVerdict(True, fault, fault_sentence(fault, 1))
    if seen.frames < policy.min_frames:
        return DriftVerdict(False, Cause.NONE, f"{seen.frames} frames are too few to judge")
    caution = policy.caution(baseline.inputs.windows + baseline.inputs.left_out)
    inputs = score_inputs(baseline.inputs, seen, policy.tolerance, before[0], caution)
    outputs = None
    comparable = baseline.outputs is not None and len(baseline.outputs.labels.usual) == len(seen.labels)
    if baseline.outputs is not None and comparable and seen.answers >= policy.min_frames:
        caution = policy.caution(baseline.outputs.windows)
        outputs = score_outputs(baseline.outputs, seen, policy.tolerance, before[1], caution)
    verdict = DriftVerdict(True, Cause.NONE, "within the enrolled range", inputs, outputs)
    beyond = sorted((score for score in verdict.scores if score.excess > 2.0), key=lambda score: -score.excess)
    if not beyond:
        return verdict
    covariate = any(score.figure not in OUTPUT_FIGURES for score in beyond)
    lead = Evidence(beyond[0].figure, beyond[0].level, 1, seen.started_at)
    cause = Cause.COVARIATE_SHIFT if covariate else Cause.LABEL_SHIFT
    return DriftVerdict(True, cause, lead.sentence(), inputs, outputs)
