"""The pure rules: thresholds, budget, escalation, sampling, accounting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.accounting import Tally, add_up
from agent.decide.budget import Budget
from agent.decide.causes import Cause
from agent.decide.escalation import may_ask, settle, without_guarantee
from agent.decide.frame_faults import FrameFaults
from agent.decide.sampling import KeepReason, Sampler
from agent.decide.thresholds import Decision, decide, review
from contract.decode import Prediction
from contract.manifest import Label, LabelKind, Thresholds
from contract.messages import Accounting, Verdict

GOOD, DEFECT = Label("good", LabelKind.GOOD), Label("scratch", LabelKind.DEFECT)
RULES = Thresholds(pass_at=0.9, reject_at=0.8)
UNSURE = decide(Prediction(0, GOOD, 0.5, 0.5), RULES)


@pytest.mark.parametrize(
    ("prediction", "verdict"),
    [
        (Prediction(0, GOOD, 0.9, 0.9), Verdict.PASS),
        (Prediction(0, GOOD, 0.5, 0.95), Verdict.PASS),  # two GOOD labels share the probability
        (Prediction(0, GOOD, 0.89, 0.89), Verdict.REVIEW),
        (Prediction(1, DEFECT, 0.8, 0.2), Verdict.REJECT),
        (Prediction(1, DEFECT, 0.79, 0.95), Verdict.REVIEW),  # a predicted defect is never PASS
        (Prediction(0, GOOD, math.nan, math.nan), Verdict.REVIEW),
    ],
)
def test_thresholds_decide(prediction: Prediction, verdict: Verdict) -> None:
    decision = decide(prediction, RULES)
    assert decision.verdict is verdict
    assert decision.escalate == (verdict is Verdict.REVIEW)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.5, 2)), max_size=50), st.floats(0, 3), st.floats(1, 10))
def test_a_budget_never_pays_more_than_it_held_and_refilled(
    asks: list[tuple[float, float]], per_s: float, capacity: float
) -> None:
    now, paid_total = 0.0, 0.0
    budget = Budget.full(capacity, per_s, now)
    for wait, cost in asks:
        now += wait
        paid, budget = budget.spend(now, cost)
        paid_total += cost if paid else 0.0
        assert -1e-9 <= budget.tokens <= capacity
    assert paid_total <= capacity + per_s * now + 1e-6


def test_a_clock_that_steps_back_refills_nothing() -> None:
    _, budget = Budget.full(1, 1, 100.0).spend(100.0)
    assert budget.spend(50.0)[0] is False
    assert budget.spend(50.0)[1].at_s == 100.0


def test_only_unsure_frames_with_time_and_budget_are_asked_about() -> None:
    budget = Budget.full(1, 0, 0.0)
    for decision, left_s in ((Decision(Verdict.PASS), 1.0), (review(Cause.LATE), 1.0), (UNSURE, 0.001)):
        asked, budget = may_ask(decision, budget, now_s=0.0, time_left_s=left_s, least_s=0.01)
        assert not asked
    asked, budget = may_ask(UNSURE, budget, now_s=0.0, time_left_s=1.0, least_s=0.01)
    assert asked
    assert not may_ask(UNSURE, budget, now_s=0.0, time_left_s=1.0, least_s=0.01)[0]


def test_the_cloud_settles_only_what_it_is_sure_of() -> None:
    assert settle(UNSURE, None, RULES) == UNSURE
    assert settle(UNSURE, Prediction(0, GOOD, 0.6, 0.6), RULES) == UNSURE
    assert settle(UNSURE, Prediction(1, DEFECT, 0.95, 0.05), RULES).verdict is Verdict.REJECT


def test_without_the_guarantee_only_a_pass_changes() -> None:
    for ask in (True, False):
        passed = without_guarantee(Decision(Verdict.PASS), ask=ask)
        assert (passed.verdict, passed.why, passed.escalate) == (Verdict.REVIEW, Cause.DRIFTED, ask)
    for decision in (Decision(Verdict.REJECT), UNSURE, review(Cause.LATE)):
        assert without_guarantee(decision, ask=True) is decision


def test_blank_frozen_and_nan_frames_are_named() -> None:
    faults = FrameFaults(blank_sd=0.5, frozen_after=3)
    assert [faults.look(sd, 1) for sd in (9.0, 9.0, 9.0, 0.1, math.nan)] == [
        None, None, Cause.FROZEN_FRAME, Cause.BLANK_FRAME, Cause.BLANK_FRAME,
    ]  # fmt: skip
    assert faults.look(9.0, 2) is None
    never = FrameFaults(frozen_after=0)
    assert [never.look(9.0, 1) for _ in range(50)] == [None] * 50


def test_the_audit_is_drawn_at_its_rate_whatever_was_decided() -> None:
    sampler = Sampler(np.random.default_rng(1), audit_rate=0.1, doubtful_per_window=0)
    for decision in (Decision(Verdict.PASS), UNSURE):
        drawn = [sampler.draw(decision) for _ in range(20_000)]
        kept = [keep for keep in drawn if keep]
        assert all(keep.reason is KeepReason.AUDIT and keep.inclusion == 0.1 for keep in kept)
        assert abs(len(kept) / 20_000 - 0.1) < 0.01


def test_doubtful_frames_are_capped_until_the_next_window() -> None:
    sampler = Sampler(np.random.default_rng(1), audit_rate=0.0, doubtful_per_window=2)
    kept = [sampler.draw(d) for d in (UNSURE, Decision(Verdict.PASS), review(Cause.LATE), UNSURE)]
    assert [keep.reason if keep else None for keep in kept] == [KeepReason.HARD, None, KeepReason.REVIEW, None]
    sampler.new_window()
    assert sampler.draw(UNSURE) is not None


_COUNTS = st.dictionaries(st.sampled_from(["late", "unsure", "x"]), st.integers(0, 9), max_size=3)


@given(st.lists(st.builds(Accounting, *[st.integers(0, 99)] * 3, _COUNTS, _COUNTS, *[st.integers(0, 9)] * 3)))
def test_adding_accounts_up_keeps_every_count(parts: list[Accounting]) -> None:
    total = add_up(parts)
    assert total.captured == sum(p.captured for p in parts)
    assert total.decided == sum(p.decided for p in parts)
    assert sum(total.dropped.values()) == sum(sum(p.dropped.values()) for p in parts)
    assert total == add_up([add_up(parts[:1]), add_up(parts[1:])])


def test_a_tally_closes() -> None:
    tally = Tally()
    tally.count(Decision(Verdict.PASS))
    tally.count(Decision(Verdict.REJECT), asked=True, answered=True)
    tally.count(review(Cause.LATE))
    tally.count_dropped("queue")
    tally.count_unrecorded(asked=True)
    closed = tally.close()
    assert closed == Accounting(5, 1, 1, {"late": 1}, {"queue": 1}, 1, 2, 1)
    assert closed.closes()


def test_a_frame_kept_because_of_drift_is_not_called_one_the_model_was_unsure_of() -> None:
    # P8: a policy that lets only unsure frames leave must not let these go.
    sampler = Sampler(np.random.default_rng(1), audit_rate=0.0, doubtful_per_window=2)
    kept = sampler.draw(without_guarantee(Decision(Verdict.PASS), ask=True))
    assert kept is not None and kept.reason is KeepReason.REVIEW
