"""The power of parts set aside is what the gate's own check does, counted over every outcome."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from cloud.gate.look_checks import refutes
from cloud.gate.scorecard import Promise
from scripts.benches.look_power import LABELLED, SHARES, least_refuting, main, power, power_of_no_miss

ROOT = Path(__file__).parents[2]
# scipy's binomial overflows at a share of 1e-308.
_SHARES = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)


@settings(max_examples=40)
@given(st.integers(0, 14), _SHARES, _SHARES)
def test_power_is_the_sum_over_every_outcome_that_the_check_refutes(aside: int, missed: float, passing: float) -> None:
    def multinomial(good: int, bad: int) -> float:
        ways = math.comb(aside, good + bad) * math.comb(good + bad, bad)
        return float(
            ways * (passing * (1 - missed)) ** good * (passing * missed) ** bad * (1 - passing) ** (aside - good - bad)
        )

    outcomes = [(good, bad) for good in range(aside + 1) for bad in range(aside + 1 - good)]
    counted = sum(multinomial(good, bad) for good, bad in outcomes if refutes(bad, good + bad, Promise()))
    assert power(aside, missed, passing) == pytest.approx(counted, abs=1e-9)


def test_one_miss_in_five_two_in_twenty_six_three_in_fifty_five() -> None:
    assert [least_refuting(passed) for passed in (5, 6, 26, 27, 55, 56)] == [1, 2, 2, 3, 3, 4]


@settings(max_examples=40)
@given(st.integers(0, 60), _SHARES)
def test_a_single_miss_is_found_more_often_than_a_refutation(aside: int, missed: float) -> None:
    passed_over = sum(binom.pmf(passed, aside, 0.5) * (1 - missed) ** passed for passed in range(aside + 1))
    assert power_of_no_miss(aside, missed) == pytest.approx(1 - passed_over, abs=1e-9)
    assert power_of_no_miss(aside, missed) >= power(aside, missed) - 1e-9


def test_what_holds_is_refuted_in_vain_in_no_more_than_ten_of_a_hundred() -> None:
    for labelled in LABELLED:
        for share in SHARES:
            assert power(round(labelled * share), 0.02) <= 0.1


def test_the_table_has_a_line_for_each_number_and_share(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    printed = capsys.readouterr().out
    assert printed in (ROOT / "docs" / "statistics.md").read_text("utf-8"), "the page shows this very table"
    lines = printed.splitlines()
    assert len(lines) == 2 + len(LABELLED) * len(SHARES)
    assert lines[2 + 2 * len(SHARES)].split() == ["120", "0.15", "18", "2", "24", "57", "92", "17", "60", "85", "98"]
