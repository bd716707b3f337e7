"""The paired bound on a shift of the verdict mix keeps what it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.mix import (
    Mix,
    MixShift,
    Pair,
    Z,
    agreement_shown_below,
    frames_needed,
    not_shown_within,
    score,
    shown_beyond,
)
from contract.messages import Verdict

VERDICTS = st.sampled_from(list(Verdict))
PAIRS = st.builds(Pair, VERDICTS, VERDICTS, st.booleans())


def mix_of(*runs: tuple[Verdict, Verdict, int]) -> Mix:
    mix = Mix()
    for incumbent, candidate, count in runs:
        for _ in range(count):
            mix.add(Pair(incumbent, candidate, same_label=True))
    return mix


def let_through(most: float, frames: int, both_ways: float) -> float:
    """Return the exact probability that a verdict which truly shifts by `most` is found to be within it.

    `both_ways` is the share of frames on which the candidate alone gives it and, as often again, the incumbent alone does.
    """
    gained, lost = most + both_ways, both_ways
    chance = 0.0
    log_n = math.lgamma(frames + 1)
    for b in range(frames + 1):
        # Far from what is likely the terms vanish; 12 standard deviations leave nothing out.
        if abs(b - frames * gained) > 12 * math.sqrt(frames * gained) + 12:
            continue
        for c in range(frames - b + 1):
            if c and abs(c - frames * lost) > 12 * math.sqrt(frames * lost) + 12:
                break
            if score(MixShift(Verdict.PASS, b, c, frames), most) > -Z:
                continue
            rest = frames - b - c
            log_p = log_n - math.lgamma(b + 1) - math.lgamma(c + 1) - math.lgamma(rest + 1)
            for count, p in ((b, gained), (c, lost), (rest, 1.0 - gained - lost)):
                log_p += count * math.log(p) if count else 0.0
            chance += math.exp(log_p)
    return chance


@pytest.mark.parametrize("most", [0.02, 0.05, 0.1, 0.2, 0.3])
def test_a_candidate_that_truly_shifts_by_as_much_is_let_through_at_most_once_in_twenty(most: float) -> None:
    needed = frames_needed(most)
    worst = max(
        let_through(most, frames, both_ways)
        for frames in (needed, needed + 1, needed + needed // 3)
        for both_ways in (1e-9, 0.01, 0.1)
    )
    assert worst <= (0.029 if most <= 0.2 else 0.05)


@pytest.mark.parametrize("most", [0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.9])
def test_as_many_frames_as_are_needed_are_enough_for_full_agreement_and_one_less_is_not(most: float) -> None:
    needed = frames_needed(most)
    agreeing = mix_of((Verdict.PASS, Verdict.PASS, needed - 1))
    assert not_shown_within(agreeing, most) is not None
    agreeing.add(Pair(Verdict.PASS, Verdict.PASS, same_label=True))
    assert not_shown_within(agreeing, most) is None


def test_a_model_that_passes_everything_is_caught_where_the_incumbent_does_not() -> None:
    all_pass = mix_of((Verdict.PASS, Verdict.PASS, 180), (Verdict.REJECT, Verdict.PASS, 20))
    caught = not_shown_within(all_pass, 0.05)
    assert caught is not None and abs(caught.share) == 0.1
    assert "10.0% more of 200 frames" in caught.in_words() or "10.0% fewer of 200 frames" in caught.in_words()
    assert shown_beyond(all_pass, 0.05) is not None
    # One defect in two hundred is within what was allowed: a smaller shift must be asked for to catch that.
    rare = mix_of((Verdict.PASS, Verdict.PASS, 199), (Verdict.REJECT, Verdict.PASS, 1))
    assert not_shown_within(rare, 0.05) is None


def test_differences_that_cancel_are_no_shift_and_between_the_two_bounds_nothing_is_shown() -> None:
    cancel = mix_of(
        (Verdict.PASS, Verdict.REJECT, 8), (Verdict.REJECT, Verdict.PASS, 8), (Verdict.PASS, Verdict.PASS, 184)
    )
    assert not_shown_within(cancel, 0.05) is None
    doubtful = mix_of((Verdict.PASS, Verdict.REVIEW, 9), (Verdict.PASS, Verdict.PASS, 191))
    assert not_shown_within(doubtful, 0.05) is not None and shown_beyond(doubtful, 0.05) is None


@given(st.lists(PAIRS, max_size=60), st.floats(0.0, 1.0))
def test_nothing_is_shown_to_be_both_within_and_beyond_and_the_order_is_nothing(pairs: list[Pair], most: float) -> None:
    forward, backward = Mix(), Mix()
    for pair in pairs:
        forward.add(pair)
    for pair in reversed(pairs):
        backward.add(Pair(pair.candidate, pair.incumbent, pair.same_label))
    within, beyond = not_shown_within(forward, most) is None, shown_beyond(forward, most) is not None
    assert not (within and beyond)
    assert (within, beyond) == (not_shown_within(backward, most) is None, shown_beyond(backward, most) is not None)
    assert sum(forward.counts(candidate=True).values()) == sum(forward.counts(candidate=False).values()) == len(pairs)
    assert sum(shift.gained - shift.lost for shift in forward.shifts()) == 0


@given(st.integers(1, 400), st.integers(0, 40), st.integers(0, 40), st.floats(0.001, 0.5))
def test_more_of_the_shift_never_makes_it_look_smaller(same: int, gained: int, lost: int, most: float) -> None:
    lost = min(gained, lost)
    frames = same + gained + lost + 1
    less = score(MixShift(Verdict.PASS, gained, lost, frames), most)
    assert np.isfinite(less)
    assert score(MixShift(Verdict.PASS, gained + 1, lost, frames), most) >= less - 1e-9


def test_an_agreement_is_shown_to_be_too_small_only_by_enough_frames() -> None:
    assert not agreement_shown_below(0, 0, 0.9)
    assert not agreement_shown_below(8, 10, 0.9)
    assert agreement_shown_below(160, 200, 0.9)
    assert not agreement_shown_below(190, 200, 0.9)
    assert agreement_shown_below(199, 200, 1.0)
