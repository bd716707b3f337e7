"""Baselines, scores and the verdict of one window."""

from __future__ import annotations

import numpy as np
import pytest

from cloud.drift.baseline import ONE_SIDED, Baseline, fit_inputs, fit_outputs
from cloud.drift.causes import Cause
from cloud.drift.detectors.levels import sd_inflation
from cloud.drift.judge import judge_drift
from cloud.drift.observation import observation
from cloud.drift.policy import DriftPolicy
from contract.errors import SketchMismatch

POLICY = DriftPolicy()


def _baseline(line, windows: int = 24) -> Baseline:
    seen = [observation(record) for record in line.records(windows)]
    return Baseline(fit_inputs(seen), fit_outputs(seen))


def test_fewer_than_12_windows_make_no_baseline(new_line) -> None:
    seen = [observation(record) for record in new_line().records(11)]
    for fit in (fit_inputs, fit_outputs):
        with pytest.raises(SketchMismatch, match="11 windows"):
            fit(seen)


def test_the_widening_of_an_sd_is_the_chi_squared_bound() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    for windows in (12, 24, 100):
        exact = (windows / scipy_stats.chi2.ppf(0.20, windows)) ** 0.5
        assert sd_inflation(windows) == pytest.approx(exact, rel=0.01)


def test_null_scores_are_no_wider_than_a_standard_normal_and_centred(new_line) -> None:
    found: dict[str, list[float]] = {}
    for seed in range(12):
        line = new_line(seed=100 + seed)
        baseline = _baseline(line)
        for _ in range(25):
            verdict = judge_drift(baseline, line.window(), POLICY)
            for score in verdict.scores:
                found.setdefault(score.figure, []).append(score.z)
    for figure, z in found.items():
        # A distance may lie low: it is news only upwards.
        assert -0.6 < np.mean(z) < 0.35 if figure in ONE_SIDED else abs(np.mean(z)) < 0.35, figure
        assert np.sqrt(np.mean(np.square(z))) < 1.1, figure


@pytest.mark.parametrize("frames", [8, 32, 500])
def test_windows_of_any_size_are_judged_by_their_own_noise(new_line, frames) -> None:
    line = new_line(seed=3)
    baseline = _baseline(line)
    line.frames = frames
    worst = [
        max(score.excess for score in judge_drift(baseline, line.window(), POLICY).inputs or ()) for _ in range(40)
    ]
    assert np.mean(np.array(worst) > 2.0) < 0.2


def test_a_trifle_is_within_tolerance_however_large_the_window(new_line) -> None:
    line = new_line(seed=4)
    baseline = _baseline(line)
    line.frames = 20_000
    line.shift_by(mean=0.9)
    window = line.window()
    assert judge_drift(baseline, window, DriftPolicy(tolerance=1.0)).scores[0].excess < 0.0
    assert judge_drift(baseline, window, DriftPolicy(tolerance=0.1)).scores[0].excess > 2.0


def test_verdicts_name_the_cause_of_one_window(new_line) -> None:
    line = new_line(seed=5)
    baseline = _baseline(line)
    assert judge_drift(baseline, line.window(), POLICY).cause is Cause.NONE
    line.shift_by(sharpness=-4.0)
    verdict = judge_drift(baseline, line.window(), POLICY)
    assert verdict.cause is Cause.COVARIATE_SHIFT and verdict.sentence.startswith("sharpness -")
    line.shift[:] = 0.0
    line.label_shares = [0.0, 0.0, 0.0, 1.0]
    assert judge_drift(baseline, line.window(), POLICY).cause is Cause.LABEL_SHIFT
    line.frames = 3
    assert not judge_drift(baseline, line.window(), POLICY).judged
    line.frames, line.frozen = 32, True
    assert judge_drift(baseline, line.window(), POLICY).cause is Cause.FROZEN


def test_features_that_never_move_do_not_divide_by_zero_and_still_show_a_change(new_line) -> None:
    line = new_line(seed=6)
    line._rng = _Constant()
    baseline = _baseline(line)
    still = judge_drift(baseline, line.window(), POLICY)
    assert all(abs(score.z) < 1e-3 for score in still.scores[:12])
    line.shift_by(mean=1.0)
    assert judge_drift(baseline, line.window(), POLICY).scores[0].z > 10


class _Constant:
    """A generator without randomness."""

    def normal(self, mean, sd, shape):
        return np.full(shape, float(mean))

    def integers(self, low, high, shape):
        return np.arange(int(np.prod(shape))).reshape(shape) % 5

    def choice(self, count, size, p):
        return np.zeros(size, int)
