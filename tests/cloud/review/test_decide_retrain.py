"""Whether a new model is called for, and why or why not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.review.retrain_policy import Evidence, Measured, RetrainPolicy, Trigger, decide_retrain

DAY_S = 86_400.0
POLICY = RetrainPolicy(labels=120, min_accuracy=0.9, enough_anyway_s=7 * DAY_S, min_audit=20)
SCHEDULED = replace(POLICY, every_s=30 * DAY_S)
BROKEN = Evidence(labels=120, audit=Measured(60, 0.4, 0.5), alarm_lasted_s=60.0)
QUIET = Evidence(labels=120, audit=Measured(60, 0.97, 0.99))
MAYBE = Measured(60, 0.88, 0.95)


@pytest.mark.parametrize(
    ("change", "go", "why"),
    [
        ({}, True, "accuracy on 60 random parts is 0.400 (at most 0.500), below 0.9"),
        ({"is_fault": True}, False, "mend it, no model can"),
        ({"is_fault": True, "alarm_lasted_s": 9e9}, False, "mend it"),
        ({"labels": 119}, False, "119 of 120 labels are there"),
        ({"labels": 119, "alarm_lasted_s": 9e9}, False, "119 of 120"),
        ({"audit": MAYBE}, False, "the model still holds: accuracy 0.880 (up to 0.950)"),
        ({"audit": Measured(60, 0.8, 0.9)}, False, "still holds"),
        ({"audit": Measured(19, 0.4, 0.5)}, False, "only 19 labels of random parts"),
        ({"audit": Measured(20, 0.4, 0.5)}, True, "20 random parts"),
        ({"audit": MAYBE, "alarm_lasted_s": 7 * DAY_S}, True, "the drift has lasted 7.0 days"),
        ({"audit": Measured(0, 1.0, 1.0), "alarm_lasted_s": 8 * DAY_S}, True, "8.0 days"),
        ({"under_way": 3}, False, "retrain 3 is under way: one at a time"),
        ({"under_way": 3, "labels": 5}, False, "5 of 120 labels are there"),
        ({"under_way": 3, "answered_by": 3}, False, "retrain 3 is under way to answer it"),
        ({"answered_by": 3}, False, "retrain 3 answered it: its rollout closes the alarm"),
        ({"failures": 1, "failed_s_ago": 3_599.0}, False, "the next try comes 1 h after it"),
        ({"failures": 2, "failed_s_ago": 3_600.0}, True, "below 0.9"),
        ({"failures": 3, "failed_s_ago": 9e9}, False, "3 retrains failed: a person must see why"),
        ({"released_s_ago": DAY_S - 1}, False, "less than 24 h ago: the cool-down"),
        ({"released_s_ago": DAY_S}, True, "below 0.9"),
    ],
)
def test_an_alarm_and_its_reason(change: dict[str, object], go: bool, why: str) -> None:
    decision = decide_retrain(replace(BROKEN, **change), POLICY)  # type: ignore[arg-type]
    assert decision.go is go and why in decision.why and decision.trigger is Trigger.DRIFT


@pytest.mark.parametrize(
    ("change", "go", "why", "trigger"),
    [
        ({}, False, "still holds: accuracy 0.970", Trigger.NONE),
        ({"audit": Measured(60, 0.7, 0.8)}, True, "(at most 0.800), below 0.9", Trigger.ACCURACY),
        (
            {"audit": Measured(60, 0.7, 0.8), "labels": 60},
            False,
            "60 of 120 labels are there; accuracy",
            Trigger.ACCURACY,
        ),
        ({"audit": Measured(60, 0.7, 0.8), "is_fault": True}, False, "no model can", Trigger.ACCURACY),
        ({"audit": Measured(60, 0.7, 0.8), "released_s_ago": 60.0}, False, "the cool-down", Trigger.ACCURACY),
        ({"audit": MAYBE}, False, "up to 0.950", Trigger.NONE),
        ({"audit": Measured(3, 0.0, 0.6)}, False, "no alarm is open; only 3 labels", Trigger.NONE),
        ({"audit": Measured(60, 0.7, 0.8), "failures": 3, "failed_s_ago": DAY_S - 1}, False, "24 h", Trigger.ACCURACY),
        ({"audit": Measured(60, 0.7, 0.8), "failures": 3, "failed_s_ago": DAY_S}, True, "below", Trigger.ACCURACY),
    ],
)
def test_labels_without_an_alarm_and_their_reason(
    change: dict[str, object], go: bool, why: str, trigger: Trigger
) -> None:
    decision = decide_retrain(replace(QUIET, **change), POLICY)  # type: ignore[arg-type]
    assert decision.go is go and why in decision.why and decision.trigger is trigger


def test_the_schedule_wants_its_period_and_enough_labels() -> None:
    over = replace(QUIET, period_s=30 * DAY_S)
    assert decide_retrain(over, SCHEDULED).trigger is Trigger.SCHEDULE and decide_retrain(over, SCHEDULED).go
    assert "30 days are over and 120 new labels are there" in decide_retrain(over, SCHEDULED).why
    assert decide_retrain(over, POLICY).trigger is Trigger.NONE, "it is off unless set"
    assert not decide_retrain(replace(QUIET, period_s=30 * DAY_S - 1), SCHEDULED).go
    few = decide_retrain(replace(over, labels=119), SCHEDULED)
    assert not few.go and "but only 119 of 120 labels are there" in few.why
    assert not decide_retrain(replace(over, is_fault=True), SCHEDULED).go


EVIDENCE = st.builds(
    Evidence,
    labels=st.integers(0, 300),
    audit=st.builds(Measured, st.integers(0, 100), st.floats(0, 1), st.floats(0, 1)),
    alarm_lasted_s=st.none() | st.floats(0, 1e8),
    is_fault=st.booleans(),
    under_way=st.none() | st.integers(1, 9),
    answered_by=st.none() | st.integers(1, 9),
    released_s_ago=st.none() | st.floats(0, 1e8),
    failures=st.integers(0, 5),
    failed_s_ago=st.floats(0, 1e8),
    period_s=st.floats(0, 1e8),
)


@given(EVIDENCE, st.floats(0, 1e7), st.floats(0, 1e7))
def test_nothing_starts_a_retrain_against_a_fault_another_retrain_the_cool_down_or_without_labels(
    evidence: Evidence, cooldown_s: float, every_s: float
) -> None:
    policy = replace(POLICY, cooldown_s=cooldown_s, every_s=every_s)
    decision = decide_retrain(evidence, policy)
    assert decision.why
    if decision.go:
        assert not evidence.is_fault and evidence.under_way is None and evidence.answered_by is None
        assert evidence.labels >= policy.labels and decision.trigger is not Trigger.NONE
        assert evidence.released_s_ago is None or evidence.released_s_ago >= cooldown_s
        assert not evidence.failures or evidence.failed_s_ago >= policy.retry_after_s


@given(EVIDENCE)
def test_the_reason_for_not_now_does_not_count_the_seconds(evidence: Evidence) -> None:
    """It is stored when it changes: one that told the time would be stored at every tick."""
    reasons = []
    for later_s in range(0, 40 * 86_400, 3_600):
        aged = {
            name: getattr(evidence, name) + later_s
            for name in ("alarm_lasted_s", "released_s_ago", "failed_s_ago", "period_s")
            if getattr(evidence, name) is not None
        }
        decision = decide_retrain(replace(evidence, **aged), SCHEDULED)
        if not decision.go and decision.why not in reasons[-1:]:
            reasons.append(decision.why)
    assert len(reasons) <= 5
