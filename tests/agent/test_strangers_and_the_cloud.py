"""A frame beyond the refusal's limit passes by nobody's word: not by the model's, not by the cloud's, drift alarm or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.causes import Cause
from agent.decide.escalation import without_cloud
from agent.decide.thresholds import Decision
from agent.decide.thresholds import review as held
from contract.decode import Prediction
from contract.messages import Verdict
from tests.agent.test_frame_loop import PASS, REJECT, bright, review
from tests.agent.test_unfamiliar_frames import strange, taught
from tests.tiny_bundle import LABELS

CLOUD_PASSES = Prediction(0, LABELS[0], 0.99, 0.99)
DECISIONS = st.sampled_from(
    [Decision(Verdict.PASS), Decision(Verdict.REJECT), *(held(cause) for cause in Cause)]
    + [Decision(Verdict.REVIEW, escalate=True, why=cause) for cause in (Cause.UNSURE, Cause.DRIFTED, Cause.DEGRADED)]
)


def test_while_a_drift_alarm_is_open_the_cloud_may_pass_a_familiar_frame_and_is_not_asked_about_a_stranger() -> None:
    bench = taught(fallback_takes_s=0.01, fallback_answer=CLOUD_PASSES)
    bench.guarantee.notice_drift(True, "the lens fogs")
    assert bench.feed(strange(230)) == [review("drifted")]
    assert bench.fallback is not None and bench.fallback.asked == 0
    assert not bench.recorder.results[-1].asked_cloud
    assert bench.feed(*bright(1, 500)) == [PASS] and bench.fallback.asked == 1


@pytest.mark.parametrize("alarmed", [True, False])
def test_a_stranger_that_the_model_is_unsure_of_is_not_passed_by_the_cloud(alarmed: bool) -> None:
    bench = taught(fallback_takes_s=0.01, fallback_answer=CLOUD_PASSES)
    bench.guarantee.notice_drift(alarmed, "the lens fogs")
    (found,) = bench.feed(strange(128))
    assert found == review("unsure" if alarmed else "unfamiliar")
    assert bench.fallback is not None and bench.fallback.asked == 0


def test_a_stranger_that_the_model_rejects_is_rejected_while_the_refusal_is_suspended() -> None:
    bench = taught(fallback_takes_s=0.01, fallback_answer=CLOUD_PASSES)
    bench.guarantee.notice_drift(True, "the lens fogs")
    assert bench.feed(strange(10).clip(0, 60)) == [REJECT]


def test_once_the_camera_enrols_anew_the_cloud_is_asked_again_while_the_alarm_is_still_open() -> None:
    bench = taught(fallback_takes_s=0.01, fallback_answer=CLOUD_PASSES)
    bench.guarantee.notice_drift(True, "a new product")
    bench.enrolled.request_enrolment()
    assert bench.feed(strange(230)) == [PASS]
    assert bench.fallback is not None and bench.fallback.asked == 1


@given(DECISIONS)
def test_a_stranger_is_never_passed_nor_asked_about_and_a_reject_stands(local: Decision) -> None:
    decision = without_cloud(local)
    assert not decision.escalate and decision.verdict is not Verdict.PASS
    assert (decision.verdict is Verdict.REJECT) == (local.verdict is Verdict.REJECT)
    assert decision.why == (Cause.UNFAMILIAR if local.verdict is Verdict.PASS else local.why)
