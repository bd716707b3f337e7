"""Laws of the e-detector, and the windows at which it finds pinned changes."""

from __future__ import annotations

import numpy as np
import pytest

from cloud.drift import fleet_fdr
from cloud.drift.e_detector import is_quiet, log_average, new_bank, one_figure, update
from cloud.drift.vectors import from_bytes

THRESHOLD = float(np.log(1000.0))


def _first_alarm(z: np.ndarray, margin: float = 0.0, figure: str = "mean") -> int | None:
    bank = new_bank((figure,))
    for index, value in enumerate(z):
        bank = update(bank, one_figure(figure, float(value), margin), at=float(index))
        if log_average((bank,)) >= THRESHOLD:
            return index
    return None


def _noise(count: int, seed: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(count)


def test_without_a_change_and_without_a_margin_runs_are_as_long_as_promised() -> None:
    # The hardest honest case: no margin at all. ARL >= 1/alpha = 1000, so at most about 1 - exp(-1) within 1000 windows.
    runs = [_first_alarm(_noise(1000, seed)) for seed in range(40)]
    assert sum(run is not None for run in runs) <= 0.63 * 40


@pytest.mark.slow
def test_with_the_margin_of_24_windows_no_alarm_in_40000_windows() -> None:
    assert all(_first_alarm(_noise(2000, seed), margin=0.6) is None for seed in range(20))


@pytest.mark.parametrize(("step", "expected"), [(3.0, 103), (-3.0, 103), (1.5, 117), (-1.5, 121)])
def test_a_step_either_way_is_found_at_the_pinned_window(step: float, expected: int) -> None:
    z = _noise(300, 1) + step * (np.arange(300) >= 100)
    assert _first_alarm(z, margin=0.6) == expected


def test_a_shift_within_the_margin_is_never_an_alarm() -> None:
    assert _first_alarm(np.full(5000, 0.6), margin=0.6) is None


def test_a_distance_counts_only_upwards() -> None:
    assert _first_alarm(np.full(50, -5.0), figure="scene") is None
    assert _first_alarm(np.full(50, 5.0), figure="scene") is not None


def test_one_window_however_wild_is_no_alarm_and_a_second_is() -> None:
    wild = np.concatenate((np.zeros(20), [1e9], np.zeros(20)))
    assert _first_alarm(wild, margin=0.6) is None
    assert _first_alarm(np.full(10, 1e9), margin=0.6) == 1


def test_wealth_stays_finite_through_years_of_drift_and_quiet() -> None:
    bank = new_bank(("mean",))
    for value in (9.0, 0.0):
        for index in range(400):
            bank = update(bank, one_figure("mean", value, 0.6), at=float(index))
        assert np.isfinite(from_bytes(bank.log_wealth)).all()
        assert is_quiet(bank) is (value == 0.0)


def test_e_bh_raises_few_alone_and_more_together() -> None:
    alone = {f"s{number}": 0.0 for number in range(100)} | {"s0": float(np.log(2e4))}
    assert fleet_fdr.discoveries(alone, 1e-3) == frozenset()
    together = alone | {f"s{number}": float(np.log(2e4)) for number in range(10)}
    assert len(fleet_fdr.discoveries(together, 1e-3)) == 10
    assert fleet_fdr.discoveries({}, 1e-3) == frozenset()


def test_a_shared_cause_needs_most_of_a_cohort() -> None:
    few, many = [0.0] * 8 + [20.0] * 2, [0.0] * 4 + [20.0] * 6
    assert fleet_fdr.shared_log_e(few, 0.5) < THRESHOLD < fleet_fdr.shared_log_e(many, 0.5)
