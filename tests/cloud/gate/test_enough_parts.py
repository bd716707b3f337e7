"""How many more parts would show the promise: the number is the check's own, no part fewer would do, and people read it."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cloud.gate.look_checks import Enough, Shown, enough, in_words, looks, shown_by
from cloud.gate.scorecard import GateCheck, LookFigures, Promise
from tests.cloud.gate.test_gate_checks import CARD

PROMISES = st.builds(Promise, st.floats(0.001, 0.5), st.floats(0.001, 0.5))


@st.composite
def _looks(draw: st.DrawFn) -> LookFigures:
    parts = draw(st.integers(0, 300))
    passed = draw(st.integers(0, parts))
    missed = draw(st.integers(0, min(passed, 6)))
    return LookFigures(
        parts, draw(st.integers(missed, parts)), passed, missed, draw(st.booleans()), draw(st.booleans())
    )


def _with(look: LookFigures, more: int) -> LookFigures:
    """Return the look with `more` good parts that pass; those that moved the threshold are no part of what others show."""
    if look.tightened:
        return LookFigures(more, 0, more, 0, newest=look.newest)
    return msgspec.structs.replace(look, parts=look.parts + more, passed=look.passed + more)


def _check(look: LookFigures, promise: Promise) -> GateCheck:
    return looks(msgspec.structs.replace(CARD, looks=(look,), promise=promise))[0]


@given(_looks(), PROMISES)
def test_so_many_show_the_promise_and_one_fewer_does_not(look: LookFigures, promise: Promise) -> None:
    wanted = enough(look, promise)
    assert (wanted is not None) == (shown_by(look, promise) is Shown.TOO_FEW)
    if wanted is None:
        return
    assert shown_by(_with(look, wanted.passed), promise) is Shown.SHOWN
    assert shown_by(_with(look, wanted.passed - 1), promise) is not Shown.SHOWN
    assert (wanted.parts is None) == (look.passed == 0)
    if wanted.parts is not None:
        # Of so many as many pass as before, and of one fewer too few would.
        assert math.floor(wanted.parts * look.passed / look.parts + 1e-6) >= wanted.passed
        assert (wanted.parts - 1) * look.passed / look.parts < wanted.passed


@given(_looks(), PROMISES)
def test_one_more_missed_defect_never_makes_fewer_parts_enough(look: LookFigures, promise: Promise) -> None:
    worse = msgspec.structs.replace(look, passed=look.passed + 1, parts=look.parts + 1, missed=look.missed + 1)
    before, after = enough(look, promise), enough(worse, promise)
    assume(before is not None and after is not None)
    assert before is not None and after is not None
    assert after.passed >= before.passed


@given(_looks(), PROMISES)
def test_the_gate_says_the_number_in_words_and_in_figures(look: LookFigures, promise: Promise) -> None:
    wanted, check, words = enough(look, promise), _check(look, promise), in_words(look, promise)
    if wanted is None:
        assert "enough" not in check.sentence.split("too few")[-1] and "Enough" not in words
        assert not {"more_passed", "more_parts"} & set(check.figures)
        return
    assert check.figures["more_passed"] == wanted.passed and check.figures.get("more_parts") == wanted.parts
    for number in (wanted.passed, wanted.parts):
        assert number is None or (f" {number} " in check.sentence and f" {number} " in words)


@pytest.mark.parametrize(
    ("look", "wanted"),
    [
        (LookFigures(18, 9, 9, 0), Enough(105, 210)),
        (LookFigures(36, 18, 18, 1), Enough(176, 352)),
        (LookFigures(240, 120, 113, 0), Enough(1, 3)),
        (LookFigures(240, 120, 114, 0), None),
        (LookFigures(18, 9, 11, 2), None),
        (LookFigures(18, 9, 7, 1, tightened=True), Enough(114, 294)),
        (LookFigures(36, 18, 0, 0), Enough(114, None)),
        (LookFigures(0, 0, 0, 0), Enough(114, None)),
    ],
)
def test_numbers_that_can_be_looked_up(look: LookFigures, wanted: Enough | None) -> None:
    assert enough(look, Promise()) == wanted


def test_what_the_ml_engineer_reads() -> None:
    few = _check(LookFigures(18, 9, 9, 0), Promise())
    assert few.sentence.endswith("enough: about 210 more labelled parts, if none of 105 that pass is a defect")
    moved = _check(LookFigures(18, 9, 7, 1, tightened=True), Promise())
    assert moved.sentence.endswith("enough: about 294 other labelled parts, if none of 114 that pass is a defect")
    assert _check(LookFigures(36, 18, 0, 0), Promise()).sentence.endswith("enough: 114 that pass, none a defect")


def test_a_promise_that_no_number_of_parts_shows_is_not_counted_for() -> None:
    assert enough(LookFigures(18, 9, 9, 0), Promise(1e-12, 0.1)) is None
