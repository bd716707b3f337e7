from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.gate.binomial import lower_bound, upper_bound
from cloud.gate.checks import gate
from cloud.gate.scorecard import (
    ClassFigures,
    CorruptionFigures,
    GateReport,
    GateRules,
    Incumbent,
    PairedFigures,
    Scorecard,
    SliceFigures,
)

RULES = GateRules()
CARD = Scorecard(
    artefact="int8.onnx",
    base=SliceFigures(400, 392),
    drift=SliceFigures(30, 29),
    classes=(ClassFigures("good", 200, 198), ClassFigures("scratch", 200, 194)),
    corruptions=(CorruptionFigures("noise", 1, 60, 50), CorruptionFigures("defocus", 1, 60, 52)),
    passed=190,
    missed_defects=1,
    calibration_error=0.03,
    golden_error=0.0,
    golden_tolerance=0.1,
    fp32_correct=393,
    fp32_agrees=398,
    median_ms=1.0,
    size_bytes=100_000,
)
INCUMBENT = Incumbent(
    msgspec.structs.replace(CARD, artefact="old.onnx", drift=SliceFigures(30, 11)),
    base=PairedFigures(400, only_candidate=2, only_incumbent=3),
    drift=PairedFigures(30, only_candidate=19, only_incumbent=1),
)


def _failed(report: GateReport) -> list[str]:
    return [check.name for check in report.failures()]


def test_good_candidate_passes_every_check() -> None:
    report = gate(CARD, INCUMBENT, RULES)
    assert report.passed and _failed(report) == []
    assert {"not worse on the base holdout", "better on the drifted slice", "latency"} <= {
        c.name for c in report.checks
    }


def test_first_model_is_judged_without_an_incumbent() -> None:
    report = gate(CARD, None, RULES)
    assert report.passed and report.incumbent == ""


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"base": SliceFigures(400, 300)}, "accuracy"),
        ({"base": SliceFigures(0, 0), "fp32_correct": 0, "fp32_agrees": 0}, "accuracy"),
        ({"classes": (ClassFigures("scratch", 200, 140),)}, "recall of scratch"),
        ({"classes": (ClassFigures("scratch", 3, 3),)}, "recall of scratch"),
        ({"passed": 190, "missed_defects": 20}, "missed defects"),
        ({"calibration_error": 0.4}, "calibration"),
        ({"golden_error": 0.2}, "golden vectors"),
        ({"golden_error": None}, "golden vectors"),
        ({"golden_error": math.nan}, "golden vectors"),
        ({"fp32_correct": 396}, "int8 against fp32"),
        ({"fp32_agrees": 380}, "int8 against fp32"),
        ({"corruptions": (CorruptionFigures("noise", 1, 60, 30),)}, "corruptions"),
        ({"median_ms": 2.5}, "latency"),
    ],
)
def test_each_fault_fails_its_own_check(change: dict[str, object], check: str) -> None:
    report = gate(msgspec.structs.replace(CARD, **change), INCUMBENT, RULES)
    assert not report.passed and check in _failed(report)


def test_forgetting_what_the_incumbent_knew_fails() -> None:
    worse = msgspec.structs.replace(INCUMBENT, base=PairedFigures(400, only_candidate=2, only_incumbent=20))
    assert _failed(gate(CARD, worse, RULES)) == ["not worse on the base holdout"]


def test_lead_that_chance_explains_is_no_lead() -> None:
    lucky = msgspec.structs.replace(INCUMBENT, drift=PairedFigures(30, only_candidate=3, only_incumbent=1))
    assert _failed(gate(CARD, lucky, RULES)) == ["better on the drifted slice"]


def test_holding_a_nearly_perfect_drifted_slice_is_enough() -> None:
    card = msgspec.structs.replace(INCUMBENT.card, drift=SliceFigures(30, 30))
    assert gate(CARD, Incumbent(card, INCUMBENT.base, PairedFigures(30, 0, 0)), RULES).passed
    assert not gate(CARD, Incumbent(card, INCUMBENT.base, PairedFigures(30, 0, 1)), RULES).passed


@given(st.integers(1, 500), st.data(), st.floats(0.5, 0.999))
def test_bounds_enclose_the_share_and_mirror_each_other(trials: int, data: st.DataObject, confidence: float) -> None:
    hits = data.draw(st.integers(0, trials))
    low, high = lower_bound(hits, trials, confidence), upper_bound(hits, trials, confidence)
    assert 0 <= low <= hits / trials + 1e-12 and hits / trials - 1e-12 <= high <= 1
    assert low == pytest.approx(1 - upper_bound(trials - hits, trials, confidence), abs=1e-9)


def test_bounds_are_those_of_the_textbook() -> None:
    # Zero of n: 1 - (1-confidence)^(1/n). Clopper & Pearson 1934.
    assert upper_bound(0, 100, 0.95) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert lower_bound(10, 10, 0.95) == pytest.approx(0.05 ** (1 / 10))
    assert upper_bound(0, 0, 0.95) == 1.0 and lower_bound(0, 0, 0.95) == 0.0
