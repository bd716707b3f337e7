"""Seasons, slow noise and window sizes: what a level's news leaves out and what it does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.drift.baseline import fit_inputs
from cloud.drift.detectors.levels import Before, Levels, fit_levels
from cloud.drift.detectors.season import fit_season
from cloud.drift.observation import observation
from cloud.drift.vectors import Vector, from_bytes

HOURS = 3_600.0
FLOOR = np.full(1, 1e-3)


def _times(count: int) -> Vector:
    return np.arange(count) * HOURS


def _light(count: int, seed: int, phi: float = 0.0, daily: float = 0.0, sd: float = 0.1) -> Vector:
    rng = np.random.Generator(np.random.PCG64(seed))
    slow = np.empty(count)
    last = sd * rng.normal()
    for index, news in enumerate(rng.normal(0, sd * (1 - phi**2) ** 0.5, count)):
        slow[index] = last = phi * last + news
    return np.asarray(0.5 + slow + daily * np.sin(2 * np.pi * _times(count) / 86_400.0))


def _fit(values: Vector) -> Levels:
    count = len(values)
    return fit_levels(("mean",), _times(count), values[:, None], np.full(1, 1e-9), np.full(count, 50.0), floors=FLOOR)


def _news(levels: Levels, values: Vector, first: int) -> Vector:
    found, before = [], None
    for index, value in enumerate(values):
        residual = levels.residual(np.array([value]), 50.0, (first + index) * HOURS)
        found.append(float(levels.news(residual, before)[0][0]))
        before = Before(residual, HOURS, before.residual if before else np.zeros(0))
    return np.array(found)


@pytest.mark.parametrize(("phi", "daily"), [(0.0, 0.0), (0.8, 0.0), (0.0, 0.5), (0.6, 0.5)])
def test_news_of_a_week_that_follows_a_week_is_white_and_of_unit_size(phi, daily) -> None:
    sizes, memory = [], []
    for seed in range(12):
        values = _light(336, seed, phi, daily)
        news = _news(_fit(values[:168]), values[168:], 168)[1:]
        sizes.append(np.mean(news**2))
        memory.append(np.corrcoef(news[1:], news[:-1])[0, 1])
    assert 0.6 < np.mean(sizes) < 1.1
    assert abs(np.mean(memory)) < 0.15


def test_without_the_season_a_day_would_be_a_drift() -> None:
    values = _light(336, 3, 0.5, daily=0.6)
    levels = _fit(values[:168])
    known = [
        levels.residual(np.array([value]), 50.0, (168 + hour) * HOURS)[0] for hour, value in enumerate(values[168:])
    ]
    unknown = [levels.residual(np.array([value]), 50.0, None)[0] for value in values[168:]]
    assert levels.season.coefficients and np.std(known) < 1.3
    # With a clock that nobody trusts the swing is part of what is normal: larger is no drift, and nothing is too surprising.
    assert np.std(unknown) < 1.3


def test_a_step_is_news_in_every_window_and_not_in_the_first_alone() -> None:
    values = _light(168, 5, 0.9)
    levels = _fit(values)
    news = _news(levels, np.concatenate((values[-5:], values[-5:] + 1.0)), 163)
    assert (news[5:] > 4.0).all() and (np.abs(news[1:5]) < 4.0).all()


def test_what_passes_is_news_once() -> None:
    values = _light(168, 6, 0.9)
    levels = _fit(values)
    after = values[-8:].copy()
    after[4] += 2.0
    news = _news(levels, after, 160)
    assert abs(news[4]) > 10.0 and (np.abs(np.delete(news, 4)) < 4.0).all()


def test_two_windows_far_apart_foretell_nothing_of_each_other() -> None:
    levels = _fit(_light(168, 7, 0.9))
    residual = np.array([2.0])
    near, _ = levels.news(residual, Before(residual, HOURS))
    far, foretold = levels.news(residual, Before(residual, 1000 * HOURS))
    assert abs(near[0]) < 1.5 and far[0] == pytest.approx(2.0, abs=0.02) and foretold[0] < 0.01


def test_margins_shrink_with_the_windows_enrolled_and_grow_with_the_frames_of_one() -> None:
    few, many = _fit(_light(24, 8)), _fit(_light(480, 8))
    none = np.zeros(1)
    assert few.margin(50.0, none, 0.0)[0] > 2.0 * many.margin(50.0, none, 0.0)[0]
    within = fit_levels(("mean",), None, _light(48, 9)[:, None], np.full(1, 0.5), np.full(48, 50.0), floors=FLOOR)
    # The baseline's windows were as large as they were, whatever the size of this one.
    assert within.margin(5000.0, none, 0.0)[0] > within.margin(50.0, none, 0.0)[0]


def test_a_season_is_not_fitted_to_slow_noise() -> None:
    fitted = sum(bool(fit_season(_times(168), _light(168, seed, 0.9)[:, None]).coefficients) for seed in range(30))
    assert fitted <= 9


def test_a_week_shows_in_two_weeks_and_not_in_one() -> None:
    times = _times(24 * 21)
    weekly = 0.5 + 0.3 * np.cos(2 * np.pi * times / (7 * 86_400.0))[:, None]
    weekly = weekly + np.random.Generator(np.random.PCG64(1)).normal(0, 0.02, weekly.shape)
    long, short = fit_season(times, weekly), fit_season(times[:200], weekly[:200])
    assert long.at(0.0)[0] == pytest.approx(0.3, abs=0.02)
    assert short.coefficients == b"" or abs(from_bytes(short.coefficients).reshape(10, 1)[8:, 0]).max() == 0.0


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=12, max_size=60),
    st.floats(-1e6, 1e6),
    st.integers(1, 10**6),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_whatever_was_enrolled_residuals_news_and_margins_are_numbers(values, value, frames, constant) -> None:
    seen = np.full((len(values), 1), values[0]) if constant else np.array(values)[:, None]
    levels = fit_levels(("mean",), _times(len(seen)), seen, np.zeros(1), np.full(len(seen), 8.0), floors=FLOOR)
    residual = levels.residual(np.array([value]), frames, 1e9)
    news, foretold = levels.news(residual, Before(residual, -5.0, residual))
    for found in (residual, news, foretold, levels.margin(frames, foretold, 0.1)):
        assert np.isfinite(found).all()


def test_fifty_parts_that_go_round_and_round_are_fifty_parts(new_line) -> None:
    margins = []
    for loop in (0, 50):
        line = new_line(seed=1)
        line.loop = loop
        baseline = fit_inputs([observation(record) for record in line.records(24)])
        margins.append(baseline.levels.margin(32.0, np.zeros(14), 0.0)[0])
    # Of 768 frames 32 a window repeat: what is left is worth two windows or so instead of 24.
    assert margins[1] > 2.5 * margins[0]
