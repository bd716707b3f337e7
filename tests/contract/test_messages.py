from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from contract.messages import Accounting, Verdict

counts = st.integers(0, 1 << 20)
by_cause = st.dictionaries(st.text(max_size=8), counts, max_size=4)


@st.composite
def closed(draw: st.DrawFn) -> Accounting:
    passed, rejected, undecided = draw(counts), draw(counts), draw(counts)
    review, dropped = draw(by_cause), draw(by_cause)
    captured = passed + rejected + sum(review.values()) + sum(dropped.values()) + undecided
    return Accounting(captured, passed, rejected, review, dropped, undecided)


@given(closed())
def test_accounting_closes_when_every_frame_has_one_fate(accounting: Accounting) -> None:
    assert accounting.closes()
    assert accounting.decided == accounting.captured - sum(accounting.dropped.values()) - accounting.undecided


@given(closed(), st.sampled_from(["captured", "passed", "rejected", "undecided"]), st.integers(-50, 50))
def test_one_frame_forgotten_or_counted_twice_does_not_close(accounting: Accounting, field: str, off: int) -> None:
    assume(off != 0)
    assert not replace(accounting, **{field: getattr(accounting, field) + off}).closes()


@given(closed(), st.sampled_from(["review", "dropped"]), st.integers(1, 50))
def test_one_cause_more_does_not_close(accounting: Accounting, field: str, more: int) -> None:
    causes = getattr(accounting, field) | {"a cause of its own": more}
    assert not replace(accounting, **{field: causes}).closes()


@given(closed(), closed())
def test_two_windows_that_close_add_up_to_one_that_closes(first: Accounting, second: Accounting) -> None:
    def both(field: str) -> dict[str, int]:
        one, two = getattr(first, field), getattr(second, field)
        return {cause: one.get(cause, 0) + two.get(cause, 0) for cause in one.keys() | two.keys()}

    total = Accounting(
        first.captured + second.captured,
        first.passed + second.passed,
        first.rejected + second.rejected,
        both("review"),
        both("dropped"),
        first.undecided + second.undecided,
    )
    assert total.closes()


@given(closed(), counts, counts)
def test_asking_the_cloud_is_no_fate(accounting: Accounting, asked: int, answers: int) -> None:
    assert replace(accounting, asked_cloud=asked, cloud_answers=answers).closes()


def test_an_empty_window_closes() -> None:
    assert Accounting().closes()


def test_messages_share_no_mutable_default() -> None:
    Accounting().review["unsure"] = 1
    assert Accounting().review == {}


def test_verdicts_are_these_three() -> None:
    assert {verdict.value for verdict in Verdict} == {"PASS", "REJECT", "REVIEW"}
