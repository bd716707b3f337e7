"""The limit of refusal: its promise on good frames holds for any distribution, and nothing is forgotten by a restart."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.decide.novelty import MAX_NOVELTY
from agent.decide.unfamiliar import (
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

NOVELTIES = st.lists(st.floats(0.0, MAX_NOVELTY), min_size=39, max_size=60)


def _heavy(rng: np.random.Generator, n: int) -> list[float]:
    return np.minimum(1.0 + rng.pareto(2.0, n), MAX_NOVELTY - rng.random(n) * 1e-3).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("draw", [_heavy, lambda rng, n: rng.normal(1.0, 0.1, n).clip(0, 8).tolist()])
def test_good_frames_are_refused_as_rarely_as_promised_on_average_and_with_confidence(draw: object) -> None:
    rng, rate, shares = np.random.default_rng(11), 0.05, []
    for _ in range(600):
        limit = RefusalLimit(rate)
        for novelty in draw(rng, frames_needed(rate)):  # type: ignore[operator]
            limit.learn(novelty)
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


@given(NOVELTIES)
def test_it_is_the_second_highest_of_the_first_frames_and_never_moves_again(novelties: list[float]) -> None:
    limit = RefusalLimit(0.05)
    for index, novelty in enumerate(novelties):
        assert limit.is_learnt == (index >= 39)
        assert limit.is_learnt or not limit.refuses(MAX_NOVELTY), "off until learnt"
        limit.learn(novelty)
    assert limit.value == sorted(novelties[:39])[-2]
    assert not limit.refuses(limit.value) and (
        limit.value == MAX_NOVELTY or limit.refuses(math.nextafter(limit.value, 9))
    )


@given(NOVELTIES, st.integers(0, 39))
@settings(max_examples=50)
def test_a_restart_at_any_frame_changes_nothing(novelties: list[float], at: int) -> None:
    whole, limit = RefusalLimit(0.05, reference="r"), RefusalLimit(0.05, reference="r")
    for index, novelty in enumerate(novelties):
        if index == at:
            kept = msgspec.json.decode(msgspec.json.encode(limit.learnt()), type=Learnt)
            assert kept.is_sound()
            limit = RefusalLimit(0.05, reference="r", kept=kept)
        limit.learn(novelty)
        whole.learn(novelty)
    assert limit.learnt() == whole.learnt()


def test_one_stranger_among_the_first_frames_changes_nothing_and_two_only_blunt_it() -> None:
    def learnt(*strangers: float) -> float | None:
        limit = RefusalLimit(0.05)
        for novelty in (*strangers, *np.random.default_rng(1).normal(1.0, 0.1, 39 - len(strangers)).clip(0).tolist()):
            limit.learn(novelty)
        return limit.value

    assert learnt(7.0) == pytest.approx(learnt(), abs=0.2)
    assert learnt(7.0, 6.0) == 6.0


def test_what_was_learnt_of_another_reference_is_nothing_and_another_rate_keeps_the_limit_until_its_own_is_learnt() -> (
    None
):
    kept = Learnt("r", 0.05, 39, (3.0, 2.0), 2.0)
    assert RefusalLimit(0.05, reference="other", kept=kept).value is None
    assert RefusalLimit(0.0, reference="r", kept=kept).value is None, "0 never refuses"
    changed = RefusalLimit(0.1, reference="r", kept=kept)
    assert (changed.value, changed.seen, changed.is_learnt) == (2.0, 0, False)
    for _ in range(frames_needed(0.1)):
        assert changed.value == 2.0
        changed.learn(1.0)
    assert changed.value == 1.0


@pytest.mark.parametrize(
    "learnt", [Learnt("r", 0.1, 9, (9.0,)), Learnt("r", 0.1, 9, (1.0, 1.0, 1.0)), Learnt("r", 0.1, 9, (), float("nan"))]
)
def test_numbers_that_cannot_be_novelties_are_not_believed(learnt: Learnt) -> None:
    assert not learnt.is_sound()


def test_a_window_of_strangers_is_told_and_a_few_strangers_are_not() -> None:
    assert "200 of 256" in flood_note(Accounting(captured=256, passed=56, review={"unfamiliar": 200}))
    assert flood_note(Accounting(captured=256, passed=246, review={"unfamiliar": 10})) == ""
    assert flood_note(Accounting(captured=5, review={"unfamiliar": 5})) == "", "five frames are no flood"
    assert flood_note(Accounting()) == ""
