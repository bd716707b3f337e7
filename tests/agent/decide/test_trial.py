"""A candidate is judged unseen, and then in charge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.mix import Pair
from agent.decide.trial import Ruling, TrialStep, TrialTally, percentile95
from contract.messages import Probation, Verdict

SAME = Pair(Verdict.PASS, Verdict.PASS, same_label=True)
OTHER = Pair(Verdict.PASS, Verdict.REJECT, same_label=False)
MISSED = Pair(Verdict.REJECT, Verdict.PASS, same_label=False)


def tally_of(probation: Probation, *, alone: bool = False) -> TrialTally:
    return TrialTally(probation, started_s=0.0, deadline_ms=10.0, alone=alone)


def step_of(ruling: Ruling | None) -> TrialStep | None:
    return ruling.step if ruling else None


def served(probation: Probation, frames: int = 4) -> TrialTally:
    """Return a tally of a candidate that is in charge since second 1."""
    tally = tally_of(probation)
    for _ in range(frames):
        tally.saw(1.0, pair=SAME)
    assert step_of(tally.judge(1.0)) is TrialStep.PUT_IN_CHARGE
    tally.put_in_charge(1.0)
    return tally


def test_a_candidate_is_put_in_charge_when_its_frames_are_there_and_kept_when_it_has_served() -> None:
    tally = tally_of(Probation(4, 0.75, 60.0, serve_s=9.0))
    for pair in (SAME, SAME, OTHER):
        tally.saw(1.0, pair=pair)
        assert tally.judge(1.0) is None
    tally.saw(1.0, pair=SAME)
    assert step_of(tally.judge(1.0)) is TrialStep.PUT_IN_CHARGE
    tally.put_in_charge(1.0)
    assert tally.judge(4.0) is None and tally.left_s(4.0) == 6.0
    assert tally.judge(8.0) is None
    assert step_of(tally.judge(10.0)) is TrialStep.KEEP


def test_without_a_time_to_serve_it_is_kept_at_once() -> None:
    assert step_of(served(Probation(4, 0.75, 60.0)).judge(1.0)) is TrialStep.KEEP


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("disagrees", "0 of 4 frames"),
        ("fails", "failed on frame 3 of its trial: NaN scores"),
        ("slow", "50.0 ms"),
        ("silent", "only 0 of 4"),
        ("big", "grew by 80 MiB with it; 64 MiB are allowed"),
    ],
)
def test_a_trial_ends_in_words_when_anything_is_wrong(wrong: str, words: str) -> None:
    tally = tally_of(Probation(4, 0.75, 60.0, max_memory_mib=64.0))
    for n in range(0 if wrong == "silent" else 4):
        if wrong == "fails" and n == 2:
            tally.failed("NaN scores")
        tally.saw(50.0 if wrong == "slow" else 1.0, pair=OTHER if wrong == "disagrees" else SAME)
    tally.weigh(80.0 if wrong == "big" else 10.0)
    ruling = tally.judge(61.0 if wrong == "silent" else 1.0)
    assert ruling is not None and ruling.step is TrialStep.TURN_DOWN
    assert words in ruling.reason


def test_a_slow_candidate_is_turned_down_before_it_has_held_up_all_its_frames() -> None:
    tally = tally_of(Probation(100, 0.0, 60.0))
    for n in range(100):
        tally.saw(50.0 if n % 2 else 1.0, pair=SAME)
        if tally.judge(1.0) is not None:
            break
    assert n == 11, "the sixth late one of a hundred decides"
    spared = tally_of(Probation(100, 0.0, 60.0))
    for n in range(100):
        spared.saw(50.0 if n % 25 == 0 else 1.0, pair=SAME)
    assert step_of(spared.judge(1.0)) is TrialStep.PUT_IN_CHARGE, "a few slow frames are allowed"


def test_a_model_that_passes_everything_is_turned_down_by_its_mix_though_no_agreement_is_asked_for() -> None:
    tally = tally_of(Probation(100, 0.0, 60.0, max_mix_shift=0.05))
    for n in range(100):
        tally.saw(1.0, pair=MISSED if n % 10 == 0 else SAME)
    ruling = tally.judge(1.0)
    assert ruling is not None and ruling.step is TrialStep.TURN_DOWN
    assert "10.0% " in ruling.reason and "100 frames than the incumbent" in ruling.reason


def test_a_mix_is_judged_on_no_fewer_frames_than_could_show_it() -> None:
    tally = tally_of(Probation(5, 0.0, 60.0, max_mix_shift=0.05))
    for n in range(73):
        assert tally.judge(1.0) is None, n
        tally.saw(1.0, pair=SAME)
    assert step_of(tally.judge(1.0)) is TrialStep.PUT_IN_CHARGE
    few = tally_of(Probation(5, 0.0, 60.0, max_mix_shift=0.05))
    for _ in range(20):
        few.saw(1.0, pair=SAME)
    ruling = few.judge(61.0)
    assert ruling is not None and "takes 73" in ruling.reason


def test_an_incumbent_that_decides_nothing_keeps_no_candidate_from_taking_over() -> None:
    tally = tally_of(Probation(5, 0.9, 60.0, max_mix_shift=0.05))
    for _ in range(5):
        tally.saw(1.0, pair=None)
    assert step_of(tally.judge(1.0)) is TrialStep.PUT_IN_CHARGE


def test_one_failure_in_charge_ends_it_with_the_hour() -> None:
    tally = served(Probation(4, 0.75, 60.0, serve_s=86_400.0))
    for second in range(1, 10_801, 5):
        assert tally.judge(float(second)) is None
    tally.failed("out of memory")
    ruling = tally.judge(10_801.0)
    assert ruling is not None and ruling.step is TrialStep.TURN_DOWN
    assert ruling.reason == "it failed on frame 5 after 10800 s in charge: out of memory"


@pytest.mark.parametrize(("pair", "late", "words"), [(MISSED, 1.0, "PASS"), (SAME, 50.0, "50.0 ms")])
def test_what_was_shown_unseen_and_is_otherwise_in_charge_turns_it_down_within_a_block(
    pair: Pair, late: float, words: str
) -> None:
    tally = served(Probation(20, 0.0, 60.0, max_mix_shift=0.2, serve_s=3600.0), frames=20)
    for _ in range(20):
        tally.saw(1.0, pair=SAME)
    assert tally.judge(2.0) is None
    for n in range(20):
        tally.saw(late, pair=pair if n < 12 else SAME)
    ruling = tally.judge(3.0)
    assert ruling is not None and ruling.step is TrialStep.TURN_DOWN
    assert words in ruling.reason and ruling.reason.endswith("in charge")


def test_a_pause_of_the_process_is_no_time_served() -> None:
    tally = served(Probation(4, 0.75, 60.0, serve_s=30.0))
    assert tally.judge(100_000.0) is None
    assert tally.left_s(100_000.0) == 25.0


def test_the_first_bundle_is_in_charge_at_once_and_must_decide_its_frames_and_serve_its_time() -> None:
    tally = tally_of(Probation(3, 0.0, 60.0, serve_s=4.0), alone=True)
    assert tally.judge(4.0) is None
    for _ in range(3):
        tally.saw(1.0, pair=None)
    assert step_of(tally.judge(5.0)) is TrialStep.KEEP
    idle = tally_of(Probation(3, 0.0, 60.0), alone=True)
    ruling = idle.judge(61.0)
    assert ruling is not None and "only 0 of 3" in ruling.reason


def test_a_held_trial_loses_no_time_while_unseen_and_serves_on_in_charge() -> None:
    tally = tally_of(Probation(4, 0.75, 60.0, serve_s=4.0))
    tally.hold(100.0)
    assert tally.judge(120.0) is None
    for _ in range(4):
        tally.saw(1.0, pair=SAME)
    assert step_of(tally.judge(120.0)) is TrialStep.PUT_IN_CHARGE
    tally.put_in_charge(120.0)
    tally.hold(100.0)
    assert step_of(tally.judge(124.0)) is TrialStep.KEEP


_ACTS = st.sampled_from(["same", "other", "alone", "late", "fail", "big", "wait", "hold"])
_PROBATIONS = st.builds(
    Probation,
    st.integers(0, 6),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([5.0, 50.0]),
    max_mix_shift=st.sampled_from([1.0, 0.4]),
    max_memory_mib=st.sampled_from([0.0, 64.0]),
    serve_s=st.sampled_from([0.0, 8.0]),
)


@given(_PROBATIONS, st.lists(_ACTS, max_size=60), st.booleans())
def test_whatever_happens_nothing_is_kept_that_failed_and_every_trial_ends(
    probation: Probation, acts: list[str], alone: bool
) -> None:
    tally, now_s, ended = tally_of(probation, alone=alone), 0.0, None
    for act in [*acts, *["wait"] * 60]:
        if act in ("same", "other", "alone", "late"):
            tally.saw(99.0 if act == "late" else 1.0, pair={"other": OTHER, "alone": None}.get(act, SAME))
        elif act == "fail":
            tally.failed("boom")
        elif act == "big":
            tally.weigh(100.0)
        elif act == "hold":
            tally.hold(0.5)
        now_s += 1.0
        assert tally.left_s(now_s) >= 0.0
        while ended is None and (ruling := tally.judge(now_s)) is not None:
            if ruling.step is TrialStep.PUT_IN_CHARGE:
                assert not tally.in_charge
                tally.put_in_charge(now_s)
            else:
                ended = ruling
        if ended is not None:
            break
    assert ended is not None
    if ended.step is TrialStep.KEEP:
        assert not tally.failure and tally.in_charge and tally.frames >= probation.frames and now_s >= probation.serve_s
        assert not (probation.max_memory_mib and tally.memory_mib > probation.max_memory_mib)
    else:
        assert ended.reason


def test_percentile95_is_the_nearest_rank() -> None:
    assert percentile95([]) == 0.0
    assert percentile95([float(n) for n in range(1, 101)]) == 95.0
    assert percentile95([7.0]) == 7.0
