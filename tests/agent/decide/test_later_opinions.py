"""Which frames want an opinion after their verdict, what may be spent on it, and sums that forget nothing."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.decide.budget import Budget
from agent.decide.causes import Cause
from agent.decide.opinions import add_up_opinions, allowance, wants_opinion
from agent.ports.policy import ImagesLeave
from contract.messages import OpinionsNote
from tests.golden.any_message import any_of


@pytest.mark.parametrize(
    ("verdict", "cause", "kept_for", "answered", "wanted"),
    [
        ("REVIEW", "unsure", "hard", False, Cause.UNSURE),
        ("REVIEW", "unsure", "audit", False, Cause.UNSURE),
        ("REVIEW", "late", "hard", False, Cause.UNSURE),
        ("REVIEW", "drifted", "review", False, Cause.DRIFTED),
        ("REVIEW", "late", "hard", True, Cause.UNSURE),
        ("REVIEW", "unsure", "hard", True, None),
        ("REVIEW", "late", "review", False, None),
        ("REVIEW", "blank_frame", "review", False, None),
        ("PASS", "", "audit", False, None),
        ("REJECT", "", "hard", True, None),
    ],
)
def test_frames_that_more_evidence_could_settle_want_an_opinion(
    verdict: str, cause: str, kept_for: str, answered: bool, wanted: Cause | None
) -> None:
    assert wants_opinion(verdict, cause, kept_for, answered) is wanted


def test_p8_which_images_may_be_shown_later_follows_the_policy() -> None:
    allowed = {policy: (policy.allows_opinion(True), policy.allows_opinion(False)) for policy in ImagesLeave}
    assert allowed == {
        ImagesLeave.NEVER: (False, False),
        ImagesLeave.UNSURE: (True, False),
        ImagesLeave.REQUESTED: (True, True),
    }


@given(
    st.integers(2, 10_000),
    st.lists(st.tuples(st.floats(0.0, 7_200.0), st.floats(0.5, 3_000.0)), min_size=1, max_size=80),
)
def test_no_hour_ever_pays_more_than_was_allowed(most: int, asks: list[tuple[float, float]]) -> None:
    budget, now_s = allowance(most, 3_600.0, 0.0), 0.0
    paid: list[tuple[float, float]] = []
    for pause_s, cost in asks:
        now_s += pause_s
        ok, budget = budget.spend(now_s, cost)
        if ok:
            paid.append((now_s, cost))
    for end_s, _ in paid:
        assert sum(cost for at_s, cost in paid if end_s - 3_600.0 < at_s <= end_s) <= most * (1 + 1e-9)


@given(st.floats(1.0, 1e9), st.floats(1e-3, 1e6), st.floats(0.0, 1e9), st.floats(0.0, 1e6))
@example(1.0, 2.0, 5e-324, 0.0)
def test_a_budget_says_how_long_until_it_can_pay(capacity: float, per_s: float, cost: float, pause_s: float) -> None:
    _, empty = Budget.full(capacity, per_s, 0.0).spend(0.0, capacity)
    wait_s = empty.wait_s(pause_s, cost)
    if cost > capacity:
        assert wait_s == float("inf")
        return
    assert empty.spend(pause_s, cost)[0] is (wait_s == 0)
    # A hair later, for the rounding.
    assert empty.spend((pause_s + wait_s) * (1 + 1e-9) + 1e-6, cost)[0]


notes = st.none() | any_of(OpinionsNote)


def counted(note: OpinionsNote | None) -> dict[str, int]:
    if note is None:
        return {}
    plain = {name: getattr(note, name) for name in note.__struct_fields__ if name != "gone"}
    return {name: n for name, n in (plain | {f"gone {why}": n for why, n in note.gone.items()}).items() if n}


@given(st.lists(notes, max_size=5))
def test_merged_summaries_tell_of_every_opinion_once(parts: list[OpinionsNote | None]) -> None:
    total: dict[str, int] = {}
    for part in parts:
        for name, n in counted(part).items():
            total[name] = total.get(name, 0) + n
    assert counted(reduce(add_up_opinions, parts, None)) == total
