"""What the gate says of the promise on parts as they look now, and that it asks for the promise that thresholds were chosen for."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from cloud.gate.binomial import upper_bound
from cloud.gate.checks import gate
from cloud.gate.look_checks import Shown, refutes, shown_by
from cloud.gate.scorecard import GateCheck, GateRules, LookFigures, Promise, Scorecard
from tests.cloud.gate.test_gate_checks import CARD, INCUMBENT


def _checks(*looks: LookFigures, **more: object) -> dict[str, GateCheck]:
    report = gate(msgspec.structs.replace(CARD, looks=looks, **more), INCUMBENT, GateRules())
    return {check.name: check for check in report.checks}


@pytest.mark.parametrize(
    ("look", "shown"),
    [
        (LookFigures(18, 9, 9, 0), Shown.TOO_FEW),
        (LookFigures(18, 9, 7, 1), Shown.TOO_FEW),
        (LookFigures(18, 9, 5, 1), Shown.REFUTED),
        (LookFigures(18, 9, 11, 2), Shown.REFUTED),
        (LookFigures(240, 120, 113, 0), Shown.TOO_FEW),
        (LookFigures(240, 120, 114, 0), Shown.SHOWN),
        (LookFigures(240, 120, 114, 0, tightened=True), Shown.TOO_FEW),
        (LookFigures(0, 0, 0, 0), Shown.TOO_FEW),
    ],
)
def test_few_parts_refute_and_many_show(look: LookFigures, shown: Shown) -> None:
    assert shown_by(look, Promise()) is shown
    check = _checks(look)["new look"]
    assert check.passed == (shown is not Shown.REFUTED) and f"at most 0.02 missed: {shown.value}: " in check.sentence
    assert check.figures["shown"] == float(shown is Shown.SHOWN)


def test_the_sentence_has_the_counts_and_the_bound() -> None:
    few = _checks(LookFigures(18, 9, 9, 0), LookFigures(36, 20, 15, 0, newest=False))
    assert few["new look"].sentence == (
        "at most 0.02 missed: not refuted, but too few to show: 0 of 9 that pass are defects, at most 0.226 at 90%; "
        "18 parts set aside, 9 defects; enough: about 210 more labelled parts, if none of 105 that pass is a defect"
    )
    assert "36 parts set aside" in few["earlier looks"].sentence
    broken = _checks(LookFigures(18, 9, 11, 2))["new look"]
    assert broken.sentence.endswith("2 of 11 that pass are defects, at most 0.415 at 90%; 18 parts set aside, 9 "
                                    "defects; at least 0.0495 are missed")  # fmt: skip
    assert broken.figures["upper_bound"] == pytest.approx(upper_bound(2, 11, 0.9))
    assert "no part was set aside" in _checks(LookFigures(0, 0, 0, 0))["new look"].sentence
    assert "none passes by itself" in _checks(LookFigures(18, 9, 0, 0))["new look"].sentence
    assert "made stricter by them" in _checks(LookFigures(18, 9, 7, 1, tightened=True))["new look"].sentence


def test_a_model_that_was_never_retrained_has_no_such_check() -> None:
    assert "new look" not in _checks()


@given(st.integers(1, 200), st.floats(0.005, 0.4), st.floats(0.01, 0.4))
def test_a_promise_that_holds_is_refuted_no_more_often_than_it_allows(passed: int, alpha: float, delta: float) -> None:
    promise = Promise(alpha, delta)
    least = next((missed for missed in range(passed + 1) if refutes(missed, passed, promise)), None)
    if least is not None:
        assert float(binom.sf(least - 1, passed, alpha)) <= delta + 1e-9


def test_missed_defects_are_held_against_the_promise_of_the_thresholds() -> None:
    strict = Promise(0.005, 0.05)
    card = {"passed": 190, "missed_defects": 4}
    assert _checks(**card)["missed defects"].passed, "4 of 190 do not refute 2 %"
    broken = _checks(**card, promise=strict)["missed defects"]
    assert not broken.passed and broken.figures["wanted"] == 0.005 and "at most 0.005 wanted" in broken.sentence
    asked = gate(msgspec.structs.replace(CARD, **card, promise=strict), None, GateRules(max_missed_defects=0.02))
    assert next(check for check in asked.checks if check.name == "missed defects").passed, "who says so, is heard"


def test_cards_of_before_are_read_with_the_promise_that_was_the_gates() -> None:
    old = msgspec.to_builtins(CARD)
    del old["promise"], old["looks"]
    assert msgspec.convert(old, Scorecard).promise == Promise(0.02, 0.1)
    assert msgspec.convert({"max_missed_defects": 0.02}, GateRules).max_missed_defects == 0.02
