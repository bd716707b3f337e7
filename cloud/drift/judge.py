"""One window against one baseline: the public door for those who keep no state (DESIGN 2, the summary line)."""

from __future__ import annotations

from dataclasses import dataclass

from cloud.drift.baseline import Baseline
from cloud.drift.causes import Cause, Evidence, fault_sentence, find_fault
from cloud.drift.observation import Observation, WindowRecord, observation
from cloud.drift.policy import DriftPolicy
from cloud.drift.scores import INPUT_FIGURES, Score, score_inputs, score_outputs
from contract.sketches.window import Window


@dataclass(frozen=True, slots=True)
class DriftVerdict:
    """What one window says by itself; an alarm needs several to agree (`watch`).

    `judged` is False when the window is too small to say anything. `cause` is a fault, or the shift that this window alone
    would suggest, or NONE. `inputs` and `outputs` are the scores, the latter empty without an enrolled output baseline.
    """

    judged: bool
    cause: Cause
    sentence: str
    inputs: tuple[Score, ...] = ()
    outputs: tuple[Score, ...] = ()


def judge_drift(baseline: Baseline, window: Window, policy: DriftPolicy) -> DriftVerdict:
    """Return what `window` says of its station, given the station's `baseline`."""
    return judge_observation(baseline, observation(WindowRecord("", "", 0, 0.0, 0.0, window)), policy)


def judge_observation(baseline: Baseline, seen: Observation, policy: DriftPolicy) -> DriftVerdict:
    """Return what the window behind `seen` says, as `judge_drift`."""
    fault = find_fault(seen, policy.min_frames)
    if fault is not Cause.NONE:
        return DriftVerdict(True, fault, fault_sentence(fault, 1))
    if seen.frames < policy.min_frames:
        return DriftVerdict(False, Cause.NONE, f"{seen.frames} frames are too few to judge")
    inputs = score_inputs(baseline.inputs, seen, policy.tolerance)
    outputs: tuple[Score, ...] = ()
    comparable = baseline.outputs is not None and len(baseline.outputs.labels) == len(seen.labels)
    if baseline.outputs is not None and comparable and seen.answers >= policy.min_frames:
        outputs = score_outputs(baseline.outputs, seen, policy.tolerance)
    beyond = sorted((score for score in inputs + outputs if score.excess > 2.0), key=lambda score: -score.excess)
    if not beyond:
        return DriftVerdict(True, Cause.NONE, "within the enrolled range", inputs, outputs)
    covariate = any(score.figure in INPUT_FIGURES for score in beyond)
    lead = Evidence(beyond[0].figure, beyond[0].z, 1, seen.started_at)
    cause = Cause.COVARIATE_SHIFT if covariate else Cause.LABEL_SHIFT
    return DriftVerdict(True, cause, lead.sentence(), inputs, outputs)
