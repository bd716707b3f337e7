"""A prediction to a decision, by the bundle's thresholds."""

from __future__ import annotations

from dataclasses import dataclass

from agent.decide.causes import Cause
from contract.decode import Prediction
from contract.manifest import LabelKind, Thresholds
from contract.messages import Verdict


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to the line. `escalate`: the cloud's opinion could settle it. `why` is None for PASS and REJECT."""

    verdict: Verdict
    escalate: bool = False
    why: Cause | None = None


_PASS = Decision(Verdict.PASS)
_REJECT = Decision(Verdict.REJECT)
_UNSURE = Decision(Verdict.REVIEW, escalate=True, why=Cause.UNSURE)


def decide(prediction: Prediction, thresholds: Thresholds) -> Decision:
    """Return PASS or REJECT where the thresholds allow it, else REVIEW as unsure.

    PASS: a GOOD label is predicted and the probability on GOOD labels reaches `pass_at`. REJECT: a DEFECT label is
    predicted with confidence >= `reject_at`. A NaN compares false, so it is never PASS.
    """
    if prediction.label.kind is LabelKind.GOOD:
        return _PASS if prediction.good >= thresholds.pass_at else _UNSURE
    return _REJECT if prediction.confidence >= thresholds.reject_at else _UNSURE


def review(why: Cause) -> Decision:
    """Return REVIEW for `why`: late and broken are not settled by asking the cloud."""
    return Decision(Verdict.REVIEW, escalate=False, why=why)
