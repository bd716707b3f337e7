"""Checks that weigh labels, kinds, places and boards: they name what is worse, and chance alone seldom fails them."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.gate.calibration import calibration_error, calibration_error_bound, reliability
from cloud.gate.checks import gate
from cloud.gate.incumbent_checks import better_on_drift
from cloud.gate.scorecard import (
    BoardBudget,
    BoardFigures,
    ClassFigures,
    GateCheck,
    GateReport,
    GateRules,
    Incumbent,
    PairedFigures,
    PairedSlice,
    ReliabilityBin,
    Scorecard,
    ShortcutFigures,
    SliceFigures,
)
from cloud.gate.shortcut import Region, mirrors, paste
from tests.cloud.gate.test_gate_checks import CARD, INCUMBENT, RULES


def _check(report: GateReport, name: str) -> GateCheck:
    return next(check for check in report.checks if check.name == name)


def _card(**change: object) -> Scorecard:
    return msgspec.structs.replace(CARD, **change)


def _incumbent(**change: object) -> Incumbent:
    return msgspec.structs.replace(INCUMBENT, **change)


def test_a_label_that_is_found_less_is_named_and_chance_is_not_blamed() -> None:
    lost = (PairedSlice("good", PairedFigures(100, 1, 2)), PairedSlice("scratch", PairedFigures(100, 1, 14)))
    check = _check(gate(CARD, _incumbent(classes=lost), RULES), "recall kept")
    assert not check.passed and "'scratch' (1 won, 14 lost of 100)" in check.sentence and "good" not in check.sentence
    unlucky = (PairedSlice("good", PairedFigures(30, 0, 3)), PairedSlice("scratch", PairedFigures(30, 2, 1)))
    check = _check(gate(CARD, _incumbent(classes=unlucky), RULES), "recall kept")
    assert check.passed and "'good': 0 won, 3 lost of 30" in check.sentence


def test_one_kind_of_corruption_that_it_gives_way_under_is_named_though_the_mean_holds() -> None:
    kinds = tuple(PairedSlice(kind, PairedFigures(80, 9, 8)) for kind in ("noise", "haze", "dust"))
    assert _check(gate(CARD, _incumbent(corruptions=kinds), RULES), "corruptions").passed
    broken = (*kinds, PairedSlice("smear", PairedFigures(80, 2, 30)))
    check = _check(gate(CARD, _incumbent(corruptions=broken), RULES), "corruptions")
    assert not check.passed and "gives way under 'smear' (2 won, 30 lost of 80)" in check.sentence


def test_equal_candidates_are_seldom_stopped_by_a_label_or_a_kind() -> None:
    generator = np.random.default_rng(3)
    stopped = 0
    for _ in range(300):
        won_lost = generator.multinomial(80, (0.12, 0.12, 0.76), size=12)
        kinds = tuple(PairedSlice(str(n), PairedFigures(80, int(w), int(o))) for n, (w, o, _) in enumerate(won_lost))
        report = gate(CARD, _incumbent(corruptions=kinds, classes=kinds[:6]), RULES)
        stopped += not (_check(report, "corruptions").passed and _check(report, "recall kept").passed)
    # Both levels together promise at most 12 of 300.
    assert stopped <= 12


@pytest.mark.parametrize(("automatic", "held"), [(0, False), (3, False), (300, True), (200, False)])
def test_a_candidate_that_leaves_all_to_inspectors_is_no_use(automatic: int, held: bool) -> None:
    rules = msgspec.structs.replace(RULES, min_automatic=0.05)
    theirs = _incumbent(card=msgspec.structs.replace(INCUMBENT.card, automatic=330))
    assert _check(gate(_card(automatic=automatic), theirs, rules), "automatic decisions").passed is held
    assert not _check(gate(_card(automatic=0), None, RULES), "automatic decisions").passed


def test_a_few_reviewed_images_are_enough_where_the_candidate_is_as_good_as_the_incumbent_was_at_home() -> None:
    card = msgspec.structs.replace(INCUMBENT.card, drift=SliceFigures(18, 15))
    mended = gate(CARD, _incumbent(card=card, drift=PairedFigures(18, 3, 0)), RULES)
    assert _check(mended, "better on the drifted slice").passed
    low = msgspec.structs.replace(INCUMBENT.card, drift=SliceFigures(18, 11))
    half = gate(CARD, _incumbent(card=low, drift=PairedFigures(18, 2, 0)), RULES)
    assert not _check(half, "better on the drifted slice").passed
    no_lead = gate(CARD, _incumbent(card=card, drift=PairedFigures(18, 1, 1)), RULES)
    assert not _check(no_lead, "better on the drifted slice").passed


@pytest.mark.parametrize(
    ("won", "lost", "incumbent", "least", "most"),
    [
        (0.32, 0.02, 0.65, 0.9, 1.0),
        (0.185, 0.015, 0.8, 0.9, 1.0),
        (0.1, 0.1, 0.65, 0.0, 0.1),
        (0.03, 0.08, 0.8, 0.0, 0.1),
    ],
)
def test_eighteen_reviewed_images_tell_a_mended_candidate_from_one_that_is_not(
    won: float, lost: float, incumbent: float, least: float, most: float
) -> None:
    generator = np.random.default_rng(5)
    shares = (won, lost, 1 - incumbent - won, incumbent - lost)
    passed = 0
    for only_ours, only_theirs, _, both in generator.multinomial(18, shares, size=200):
        card = msgspec.structs.replace(INCUMBENT.card, drift=SliceFigures(18, int(both + only_theirs)))
        pairs = PairedFigures(18, int(only_ours), int(only_theirs))
        passed += better_on_drift(pairs, card, RULES).passed
    assert least <= passed / 200 <= most


def test_a_label_without_images_and_a_holdout_of_one_label_show_nothing() -> None:
    report = gate(_card(classes=(ClassFigures("good", 400, 400), ClassFigures("scratch", 0, 0))), None, RULES)
    assert "no image of 'scratch' is held back" in _check(report, "recall of scratch").sentence
    assert not _check(report, "accuracy").passed and "all 400 holdout images are of 'good'" in str(report)
    lenient = msgspec.structs.replace(RULES, min_recall=0.0, min_recall_bound=0.0)
    assert _check(gate(_card(classes=(ClassFigures("x", 0, 0),)), None, lenient), "recall of x").passed


def test_boards_are_held_to_their_budgets_and_an_unmeasured_one_is_said_to_be_so() -> None:
    rules = msgspec.structs.replace(RULES, boards=(BoardBudget("orin", 5.0, 200.0), BoardBudget("pi5", latency_ms=9.0)))
    card = _card(boards=(BoardFigures("orin", 3.1, 240.0, "orin.json"),))
    report = gate(card, None, rules)
    orin, pi5 = _check(report, "board orin"), _check(report, "board pi5")
    assert not orin.passed and "memory: 240 MiB (at most 200), from orin.json" in orin.sentence
    assert not pi5.passed and "not measured on this board" in pi5.sentence
    within = (BoardFigures("orin", 3.1, 140.0), BoardFigures("pi5", 8.0))
    assert gate(_card(boards=within), None, rules).passed


@pytest.mark.parametrize(
    ("figures", "held"),
    [
        (ShortcutFigures("top left", "a", 60, 50), False),
        (ShortcutFigures("top left", "a", 60, 20), True),
        (ShortcutFigures("top left", "a", 60, 14, 0, 0, 180), False),
        (ShortcutFigures("right", "a", 60, 19, 18, 55, 180), True),
        (ShortcutFigures("top", "a", 60, 50, 48, 10, 180), True),
        (ShortcutFigures("top", "a", 60, 4, 0, 0, 180), True),
    ],
)
def test_following_a_paste_is_a_shortcut_only_where_defects_do_not_explain_it(
    figures: ShortcutFigures, held: bool
) -> None:
    assert _check(gate(_card(shortcut=figures), INCUMBENT, RULES), "shortcuts").passed is held


@given(st.sampled_from(Region), st.integers(4, 40), st.integers(4, 40), st.booleans())
def test_a_paste_takes_its_region_and_nothing_else(region: Region, height: int, width: int, colour: bool) -> None:
    more = (3,) if colour else ()
    pasted = paste(np.zeros((height, width, *more), np.uint8), np.full((17, 23, *more), 9, np.uint8), region)
    assert pasted.shape == (height, width, *more) and set(np.unique(pasted)) <= {0, 9}
    middle = pasted[round(0.25 * height) : round(0.75 * height), round(0.25 * width) : round(0.75 * width)]
    assert not middle.any() and len(mirrors(region)) == 3 and region not in mirrors(region)
    covered = (pasted == 9).mean()
    assert 0 < covered <= 0.35


def test_a_paste_between_sizes_keeps_what_lies_where() -> None:
    donor = np.zeros((40, 40), np.uint8)
    donor[:10, :10] = 200
    assert (paste(np.zeros((20, 60), np.uint8), donor, Region.TOP_LEFT)[:5, :15] == 200).all()
    assert not paste(np.zeros((20, 60), np.uint8), donor, Region.BOTTOM_RIGHT).any()


def test_exact_confidence_on_few_images_is_not_called_miscalibrated_and_overconfidence_is() -> None:
    generator = np.random.default_rng(0)
    stopped = seen = 0
    for _ in range(200):
        confidence = generator.uniform(0.3, 1, 40).astype(np.float32)
        exact = reliability(confidence, generator.uniform(size=40) < confidence)
        stopped += calibration_error_bound(exact, 0.95) > 0.05
        seen += calibration_error(exact) > 0.05
    assert seen > 150, "the plain error would have stopped most"
    assert stopped <= 10
    sure = reliability(np.full(200, 0.97, np.float32), generator.uniform(size=200) < 0.7)
    assert calibration_error_bound(sure, 0.95) > 0.15


@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=60), st.sampled_from((0.9, 0.95))
)
def test_the_calibration_bound_lies_between_nothing_and_the_error(
    rows: list[tuple[float, bool]], confidence: float
) -> None:
    bins = reliability(np.array([r[0] for r in rows], np.float32), np.array([r[1] for r in rows]))
    assert sum(each.images for each in bins) == len(rows)
    bound = calibration_error_bound(bins, confidence)
    assert 0 <= bound <= calibration_error(bins)
    assert bound == calibration_error_bound(bins, confidence), "the same bins, the same bound"


def test_a_report_of_an_earlier_version_is_read_and_one_of_today_comes_back_whole() -> None:
    report = gate(
        _card(reliability=(ReliabilityBin(400, 0.97, 392),), shortcut=ShortcutFigures("top", "good", 60, 2)),
        _incumbent(classes=(PairedSlice("good", PairedFigures(10, 0, 0)),)),
        RULES,
    )
    assert msgspec.json.decode(msgspec.json.encode(report), type=GateReport) == report
    old = msgspec.to_builtins(report)
    for name in ("automatic", "confusion", "reliability", "score_cells", "shortcut", "boards"):
        del old["card"][name]
    for name in ("max_followed", "slice_level", "boards"):
        del old["rules"][name]
    read = msgspec.convert(old, GateReport)
    assert read.card.shortcut is None and read.rules == GateRules()
