"""Whether an alarm is answered by a new model."""

from __future__ import annotations

import pytest

from cloud.review.retrain_policy import RetrainPolicy, decide_retrain

POLICY = RetrainPolicy(labels=120, min_accuracy=0.9, enough_anyway_s=7 * 86_400.0, min_audit=20)
BROKEN = {
    "is_fault": False,
    "labels": 120,
    "audit_labels": 60,
    "accuracy": 0.4,
    "accuracy_upper": 0.5,
    "lasted_s": 60.0,
}


@pytest.mark.parametrize(
    ("change", "go", "why"),
    [
        ({}, True, "accuracy on 60 random parts is 0.400 (at most 0.500), below 0.9"),
        ({"is_fault": True}, False, "mend it, no model can"),
        ({"is_fault": True, "lasted_s": 9e9}, False, "mend it"),
        ({"labels": 119}, False, "119 of 120 labels are there"),
        ({"labels": 119, "lasted_s": 9e9}, False, "119 of 120"),
        ({"accuracy": 0.88, "accuracy_upper": 0.95}, False, "the model still holds: accuracy 0.880 (up to 0.950)"),
        ({"accuracy_upper": 0.9}, False, "still holds"),
        ({"audit_labels": 19}, False, "still holds"),
        ({"audit_labels": 20}, True, "20 random parts"),
        ({"accuracy_upper": 0.99, "lasted_s": 7 * 86_400.0}, True, "the drift has lasted 7.0 days"),
        ({"audit_labels": 0, "accuracy_upper": 1.0, "lasted_s": 8 * 86_400.0}, True, "8.0 days"),
    ],
)
def test_the_decision_and_its_reason(change: dict[str, float], go: bool, why: str) -> None:
    decision = decide_retrain(**{**BROKEN, **change}, policy=POLICY)  # type: ignore[arg-type]
    assert decision.go is go and why in decision.why
