"""The limit of refusal: its promise on good frames holds for any distribution, and nothing is forgotten by a restart."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.decide.familiar import MOST_DISTANCE, Familiar
from agent.decide.unfamiliar import (
    LEAST_LIMIT,
    LEAST_RATE,
    MOST_RATE,
    SPARE,
    Learnt,
    RefusalLimit,
    flood_note,
    frames_needed,
    most_refused,
)
from contract.messages import Accounting

DISTANCES = st.lists(st.floats(0.0, MOST_DISTANCE), min_size=39, max_size=60)


def _heavy(rng: np.random.Generator, n: int) -> list[float]:
    return np.minimum(1.0 + rng.pareto(2.0, n), MOST_DISTANCE - rng.random(n) * 1e-3).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("draw", [_heavy, lambda rng, n: rng.normal(1.0, 0.1, n).clip(0, 8).tolist()])
def test_good_frames_are_refused_as_rarely_as_promised_on_average_and_with_confidence(draw: object) -> None:
    rng, rate, shares = np.random.default_rng(11), 0.05, []
    for _ in range(600):
        limit = RefusalLimit(rate)
        for distance in draw(rng, frames_needed(rate)):  # type: ignore[operator]
            limit.learn(distance)
        later = draw(rng, 400)  # type: ignore[operator]
        shares.append(sum(map(limit.refuses, later)) / len(later))
    # The mean of 600 shares of about 2/40, each with a spread of some .035: within four standard errors.
    assert rate - 0.006 < np.mean(shares) < rate + 0.006
    beyond = np.mean(np.array(shares) > most_refused(rate))
    assert 0.02 < beyond < 0.09, "one enrolment in twenty is worse than said, and no more"


@given(rate=st.floats(LEAST_RATE, MOST_RATE))
def test_the_fewest_frames_that_keep_the_rate_are_learnt_from(rate: float) -> None:
    frames = frames_needed(rate)
    assert SPARE / (frames + 1) <= rate * (1 + 1e-6)
    assert SPARE / frames > rate * (1 - 1e-6)


@given(DISTANCES)
def test_it_is_the_second_highest_of_the_first_frames_and_never_moves_again(distances: list[float]) -> None:
    limit = RefusalLimit(0.05)
    for index, distance in enumerate(distances):
        assert limit.is_learnt == (index >= 39)
        assert limit.is_learnt or not limit.refuses(MOST_DISTANCE), "off until learnt"
        limit.learn(distance)
    assert limit.value == max(sorted(distances[:39])[-2], LEAST_LIMIT)
    assert not limit.refuses(limit.value) and (limit.refuses(math.nextafter(limit.value, math.inf)))


@given(DISTANCES, st.integers(0, 39))
@settings(max_examples=50)
def test_a_restart_at_any_frame_changes_nothing(distances: list[float], at: int) -> None:
    whole, limit = RefusalLimit(0.05), RefusalLimit(0.05)
    for index, distance in enumerate(distances):
        if index == at:
            kept = msgspec.json.decode(msgspec.json.encode(limit.learnt("r", b"")), type=Learnt)
            assert kept.is_sound()
            limit = RefusalLimit(0.05, kept)
        limit.learn(distance)
        whole.learn(distance)
    assert limit.learnt("r", b"") == whole.learnt("r", b"")


def test_one_stranger_among_the_first_frames_changes_nothing_and_two_only_blunt_it() -> None:
    def learnt(*strangers: float) -> float | None:
        limit = RefusalLimit(0.05)
        for distance in (*strangers, *np.random.default_rng(1).normal(1.0, 0.1, 39 - len(strangers)).clip(0).tolist()):
            limit.learn(distance)
        return limit.value

    assert learnt(7.0) == pytest.approx(learnt(), abs=0.2)
    assert learnt(7.0, 6.0) == 6.0


def test_another_rate_keeps_the_limit_until_its_own_is_learnt() -> None:
    kept = Learnt("r", b"", 0.05, 39, (3.0, 2.0), 2.0)
    assert RefusalLimit(0.0, kept).value is None, "0 never refuses"
    changed = RefusalLimit(0.1, kept)
    assert (changed.value, changed.seen, changed.is_learnt) == (2.0, 0, False)
    for _ in range(frames_needed(0.1)):
        assert changed.value == 2.0
        changed.learn(1.0)
    assert changed.value == 1.0


@pytest.mark.parametrize(
    "learnt",
    [
        Learnt("r", b"", 0.1, 9, (2e6,)),
        Learnt("r", b"", 0.1, 9, (1.0, 1.0, 1.0)),
        Learnt("r", b"", 0.1, 9, (), float("nan")),
    ],
)
def test_numbers_that_cannot_be_distances_are_not_believed(learnt: Learnt) -> None:
    assert not learnt.is_sound()


def test_a_window_of_strangers_is_told_and_a_few_strangers_are_not() -> None:
    assert "200 of 256" in flood_note(Accounting(captured=256, passed=56, review={"unfamiliar": 200}))
    assert flood_note(Accounting(captured=256, passed=246, review={"unfamiliar": 10})) == ""
    assert flood_note(Accounting(captured=5, review={"unfamiliar": 5})) == "", "five frames are no flood"
    assert flood_note(Accounting()) == ""


FRAMES = np.random.default_rng(2).normal(0.5, 0.1, (600, 12))


def remembered(values: np.ndarray, needed: int) -> Familiar:
    familiar = Familiar(needed)
    for each in values:
        familiar.add(each)
    return familiar


def test_a_distance_is_to_the_second_nearest_remembered_frame_and_none_before_there_are_enough() -> None:
    early = remembered(FRAMES[:99], 100)
    assert not early.ready and early.distance(np.full(12, 9.0)) == 0.0
    points = FRAMES[:100].astype(np.float32).astype(np.float64)
    familiar = remembered(points, 100)
    z = (points - points.mean(axis=0)) / np.maximum(points.std(axis=0), 1 / 512)
    lower = np.linalg.cholesky(np.linalg.inv(0.95 * np.clip(z, -8, 8).T @ np.clip(z, -8, 8) / 100 + 0.05 * np.eye(12)))
    for x in (FRAMES[300], FRAMES[301], FRAMES[0], np.full(12, 2.0)):
        own = np.clip((x - points.mean(axis=0)) / np.maximum(points.std(axis=0), 1 / 512), -8, 8)
        apart = np.sort(np.sqrt(((np.clip(z, -8, 8) @ lower - own @ lower) ** 2).mean(axis=1)))
        assert familiar.distance(x) == pytest.approx(apart[1], rel=1e-6)


def test_one_stranger_in_the_enrolment_makes_no_second_one_familiar_and_two_do() -> None:
    stranger = FRAMES[0] + np.array([0.6, -0.6] * 6)
    for strangers, is_familiar in ((1, False), (2, True)):
        values = np.vstack([FRAMES[:98], np.repeat(stranger[None], strangers, axis=0), FRAMES[98 : 100 - strangers]])
        familiar = remembered(values, 100)
        ordinary = max(familiar.distance(x) for x in FRAMES[200:400])
        assert (familiar.distance(stranger) < ordinary) == is_familiar


def test_of_a_long_enrolment_frames_are_remembered_evenly_and_memory_is_bounded() -> None:
    familiar = Familiar(3000)
    for index in range(3000):
        assert not familiar.ready
        familiar.add(np.full(12, float(index)))
    kept = np.frombuffer(familiar.encode(), "<f4").reshape(-1, 12)[:, 0]
    assert familiar.ready and len(kept) == 512
    assert kept[0] == 0 and np.all(np.diff(kept) >= 5) and np.all(np.diff(kept) <= 6)


@given(st.binary(max_size=400))
def test_any_bytes_are_points_or_none(kept: bytes) -> None:
    familiar = Familiar.decode(kept)
    assert familiar is None or 0.0 <= familiar.distance(FRAMES[0]) <= MOST_DISTANCE


def test_what_is_remembered_survives_as_it_was_and_numbers_that_are_none_are_far() -> None:
    familiar = remembered(FRAMES[:50], 50)
    again = Familiar.decode(familiar.encode())
    assert again is not None
    assert [again.distance(x) for x in FRAMES[50:90]] == [familiar.distance(x) for x in FRAMES[50:90]]
    with np.errstate(invalid="ignore"):
        assert familiar.distance(np.full(12, np.nan)) == MOST_DISTANCE
    same = Familiar.decode(np.full((4, 12), 0.5, "<f4").tobytes())
    assert same is not None and same.distance(np.full(12, 0.5)) == 0.0, "an enrolment that never moved"
