"""A candidate on a station: unseen beside the incumbent, then in charge with the incumbent beside it, then kept, or neither."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.ports.slots import InstalledBundle, Trial, TrialNews, TrialPhase
from agent.trying import MOST_LEFT_BEHIND
from contract.errors import BadModel
from contract.messages import Probation, ShadowNote
from tests.agent.test_degraded_line import in_use, two_artefacts
from tests.agent.test_frame_loop import PASS, REJECT, Bench, bright, review
from tests.agent.test_supervisor import Line, Parts, hang_at, hangs_now, quick_turns
from tests.agent.test_who_is_to_blame import wait
from tests.fakes.agent_line import bundle, image

HOUR = 3600.0
SHORT = Probation(3, 0.9, serve_s=HOUR)
Answer = Callable[[NDArray[Any]], NDArray[np.float32]]

__all__ = ["quick_turns"]


def in_charge(bench: Bench) -> str:
    assert bench.serving.in_charge is not None
    return bench.serving.in_charge.bundle.digest[:1]


def on_probation(probation: Probation = SHORT, **answers: Answer) -> Bench:
    """Return a line on which candidate "b" has just been put in charge, and "a" was before."""
    bench = Bench(installed=bundle("a"), enrol_frames=1000)
    bench.models.update(answers)
    bench.offer(bundle("b"), probation)
    assert bench.feed(*bright(max(probation.frames, 1))) == [PASS] * max(probation.frames, 1)
    bench.loop.step()
    assert in_charge(bench) == "b" and bench.outcome() is None
    return bench


def serve(bench: Bench, for_s: float) -> None:
    """Let time pass while the loop turns."""
    for _ in range(int(for_s / 4.0) + 1):
        bench.clock.forward(4.0)
        bench.loop.step()


def test_a_candidate_is_kept_after_its_time_in_charge_and_not_before() -> None:
    bench = on_probation()
    assert not bench.runtimes["a"].closed, "it may have to take over again"
    serve(bench, HOUR - 30)
    assert bench.outcome() is None
    assert bench.feed(*bright(2, 10)) == [PASS] * 2
    serve(bench, 30)
    outcome = bench.outcome()
    assert outcome is not None and outcome.kept and in_charge(bench) == "b"
    assert (outcome.frames, outcome.agreed) == (5, 5), "in charge, the incumbent is asked the same frames"
    assert bench.runtimes["a"].closed and not bench.runtimes["b"].closed


def test_the_update_loop_is_told_of_each_phase_and_how_long_it_may_take() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=1000)
    bench.offer(bundle("b"), Probation(3, 0.9, timeout_s=60.0, serve_s=20.0))
    told = bench.switch.news()
    assert told == TrialNews("d1", "b" * 8, TrialPhase.UNSEEN, 80.0, 0, 0) and bench.switch.news() is None
    bench.clock.forward(5)
    bench.feed(*bright(3))
    bench.loop.step()
    told = bench.switch.news()
    assert told is not None and (told.phase, told.left_s, told.frames) == (TrialPhase.IN_CHARGE, 20.0, 3)
    serve(bench, 12)
    told = bench.switch.news()
    assert told is not None and told.phase is TrialPhase.IN_CHARGE and told.left_s < 20.0, "a sign of life"


def _fails(_tensor: NDArray[Any]) -> NDArray[np.float32]:
    raise BadModel("out of memory")


def _breaks(_tensor: NDArray[Any]) -> NDArray[np.float32]:
    raise KeyError("scores")


WRONG: dict[str, tuple[Answer, str]] = {
    "fails": (_fails, "out of memory"),
    "throws": (_breaks, "KeyError"),
    "not a number": (lambda _tensor: np.full(2, np.nan, np.float32), "NaN"),
    "wrong shape": (lambda _tensor: np.zeros(3, np.float32), "3] scores for 2 labels"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_fails_unseen_costs_no_frame_and_is_turned_down_in_words(wrong: str) -> None:
    answer, words = WRONG[wrong]
    bench = Bench(installed=bundle("a"), enrol_frames=1000)
    bench.models["b"] = answer
    bench.offer(bundle("b"), Probation(50, 0.0))
    assert bench.feed(*bright(2), image(20)) == [PASS, PASS, REJECT]
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept and words in outcome.reason
    assert bench.runtimes["b"].closed
    (note,) = [summary.shadow for summary in bench.finish()]
    assert note is not None and note.failed == 1


@pytest.mark.parametrize("wrong", WRONG)
def test_what_fails_in_charge_at_hour_3_costs_one_frame_and_the_incumbent_goes_on(wrong: str) -> None:
    answer, words = WRONG[wrong]
    bench = on_probation(Probation(3, 0.9, serve_s=8 * HOUR))
    serve(bench, 3 * HOUR)
    bench.runtimes["b"].act = answer
    verdicts = bench.feed(*bright(3, 10))
    assert verdicts[0][0] == "REVIEW" and verdicts[1:] == [PASS] * 2
    assert in_charge(bench) == "a"
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept
    assert words in outcome.reason and "s in charge" in outcome.reason
    assert bench.runtimes["b"].closed and not bench.runtimes["a"].closed
    assert {r.bundle[:1] for r in bench.recorder.results[-2:]} == {"a"}


def test_a_candidate_that_passes_everything_is_turned_down_by_its_mix_alone() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=1000, window_frames=500)
    bench.models["b"] = lambda _tensor: np.array([9, -9], np.float32)
    bench.offer(bundle("b"), Probation(80, 0.0, max_mix_shift=0.05))
    bench.feed(*[image(20 if seed % 8 == 0 else 230, seed) for seed in range(80)])
    bench.loop.step()
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept and in_charge(bench) == "a"
    assert "12.5% " in outcome.reason
    (note,) = [summary.shadow for summary in bench.finish()]
    assert note is not None
    assert (note.verdicts, note.incumbent) == ({"PASS": 80}, {"PASS": 70, "REJECT": 10})


def test_one_that_begins_to_pass_everything_in_charge_is_found_out_by_the_incumbent_beside_it() -> None:
    bench = on_probation(Probation(35, 0.0, max_mix_shift=0.1, serve_s=HOUR))
    bench.runtimes["b"].act = lambda _tensor: np.array([9, -9], np.float32)
    bench.feed(*[image(20 if seed % 3 == 0 else 230, 100 + seed) for seed in range(36)])
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept and in_charge(bench) == "a"
    assert "PASS on" in outcome.reason or "REJECT on" in outcome.reason
    # Another lot of parts is no fault of a model: both see it.
    fair = on_probation(Probation(35, 0.0, max_mix_shift=0.1, serve_s=HOUR))
    fair.feed(*[image(20 if seed % 3 == 0 else 230, 100 + seed) for seed in range(40)])
    assert fair.outcome() is None and in_charge(fair) == "b"


def test_a_candidate_that_turns_slow_in_charge_gives_way() -> None:
    bench = on_probation(Probation(20, 0.9, serve_s=HOUR))

    def slow(_tensor: NDArray[Any]) -> NDArray[np.float32]:
        bench.clock.forward(0.15)
        return np.array([9, -9], np.float32)

    bench.runtimes["b"].act = slow
    assert bench.feed(*bright(20, 100)) == [review("late")] * 20
    bench.loop.step()
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept and "in charge" in outcome.reason and in_charge(bench) == "a"


def look(bench: Bench) -> str:
    """Judge one bright frame, whatever is being loaded; return who did."""
    bench.source.put(image(230, len(bench.recorder.results)))
    bench.loop.step()
    result = bench.recorder.results[-1]
    assert (result.verdict, result.cause) == PASS
    return result.bundle[:1]


@pytest.mark.parametrize("when", ["loading", "unseen", "in charge"])
def test_a_process_that_grows_too_much_with_a_candidate_is_rid_of_it(when: str) -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=1000)
    probation = Probation(3, 0.9, serve_s=HOUR, max_memory_mib=64.0)
    if when == "loading":
        bench.loadable.clear()
        bench.switch.offer(_trial("hangs", probation))
        bench.loop.step()
    else:
        bench.offer(bundle("b"), probation)
    for _ in range(5 if when == "in charge" else 2):
        look(bench)
    bench.memory_mib += 60
    bench.clock.forward(1)
    assert look(bench) == ("b" if when == "in charge" else "a")
    bench.memory_mib += 5
    bench.clock.forward(1)
    look(bench)
    assert look(bench) == "a"
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept and "grew by 65 MiB" in outcome.reason
    assert not bench.runtimes["a"].closed and bench.serving.why_unsound() == ""
    if when == "loading":
        # Nothing can end a loader: should it go on, the process must, and the trial is over by then.
        bench.memory_mib += 100
        assert "cannot be ended" in bench.serving.why_unsound()
        bench.loadable.set()


def _trial(version: str, probation: Probation) -> Trial:
    return Trial(bundle(version), version, probation)


def _loaders() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "model-loader"}


def test_loaders_that_hang_are_left_behind_only_so_often_and_freed_should_they_return() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=1000)
    bench.loadable.clear()
    before = _loaders()
    for n in range(MOST_LEFT_BEHIND):
        bench.switch.offer(_trial(f"hangs{n}", Probation(3, 0.9, timeout_s=30.0)))
        bench.loop.step()
        assert bench.outcome() is None
        bench.clock.forward(31)
        bench.loop.step()
        outcome = bench.outcome()
        assert outcome is not None and not outcome.kept and "hangs in loading" in outcome.reason
    bench.switch.offer(_trial("b", Probation(3, 0.9)))
    bench.loop.step()
    outcome = bench.outcome()
    assert outcome is not None and "restart the station" in outcome.reason
    assert len(_loaders() - before) == MOST_LEFT_BEHIND
    bench.source.put(image(230))
    bench.loop.step()
    assert [(r.verdict, r.bundle[:1]) for r in bench.recorder.results] == [("PASS", "a")]
    bench.loadable.set()
    wait(lambda: not _loaders() - before)
    bench.loop.step()
    assert all(bench.runtimes[f"hangs{n}"].closed for n in range(MOST_LEFT_BEHIND))
    bench.offer(bundle("b"), Probation(1, 0.9))
    bench.feed(image(230, 1))
    bench.loop.step()
    outcome = bench.outcome()
    assert outcome is not None and outcome.kept


def test_a_candidate_that_hangs_in_charge_gives_way_to_the_incumbent_at_once() -> None:
    line = Line(Parts(100_000), installed=bundle("a"))
    # Twenty unseen, then in charge: the thirtieth frame of its own never ends.
    line.hooks["b"], released = hang_at(30)
    line.switch.offer(_trial("b", Probation(20, 0.0, serve_s=HOUR)))
    runner = threading.Thread(target=line.supervisor.run, args=(line.stop,), daemon=True)
    runner.start()
    outcome = line.switch.next_outcome(60.0)
    assert outcome is not None and not outcome.kept and outcome.reason == "it hung in charge"
    seen = len(line.recorder.results)
    wait(lambda: len(line.recorder.results) > seen + 50)
    line.stop.set()
    runner.join(60)
    released.set()
    # One frame was lost to it, none to loading anything: the incumbent was there.
    assert line.verdicts().count(("REVIEW", "late")) == 1
    assert set(line.verdicts()) == {("PASS", ""), ("REVIEW", "late")}
    assert {r.bundle[:1] for r in line.recorder.results[-20:]} == {"a"}


def test_an_incumbent_that_hangs_beside_its_successor_takes_nothing_from_it() -> None:
    line = Line(Parts(100_000), installed=bundle("a"))
    inside, released = 0, threading.Event()

    def hang_once_it_is_second() -> None:
        nonlocal inside
        if line.serving.in_charge is not None and line.serving.in_charge.bundle.digest.startswith("b"):
            inside += 1
            hangs_now()
            released.wait(60)

    line.hooks["a"] = hang_once_it_is_second
    line.switch.offer(_trial("b", Probation(20, 0.0, serve_s=2.0)))
    runner = threading.Thread(target=line.supervisor.run, args=(line.stop,), daemon=True)
    runner.start()
    outcome = line.switch.next_outcome(60.0)
    assert outcome is not None and outcome.kept
    line.stop.set()
    runner.join(60)
    released.set()
    assert set(line.verdicts()) == {("PASS", "")} and inside == 1


def test_a_share_of_the_frames_is_drawn_and_the_rest_cost_nothing() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=1000, window_frames=500)
    draws, seen = random.Random(7), 0

    def count(tensor: NDArray[Any]) -> NDArray[np.float32]:
        nonlocal seen
        seen += 1
        bench.clock.forward(0.002)
        return np.array([9, -9], np.float32)

    bench.models["b"] = count
    bench.offer(bundle("b"), Probation(1000, 0.9, shadow_share=0.25))
    for seed in range(200):
        bench.roll = draws.random()
        bench.feed(image(230, seed))
    again = random.Random(7)
    assert seen == sum(again.random() < 0.25 for _ in range(200))
    assert 30 < seen < 70
    note = bench.serving.take_shadow()
    assert note == ShadowNote("b" * 8, "d1", seen, seen, {"PASS": seen}, {"PASS": seen}, 0, 2.0, 0.0)


def test_the_second_model_runs_after_the_verdict_and_adds_nothing_to_its_time() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=1000)

    def slow(_tensor: NDArray[Any]) -> NDArray[np.float32]:
        assert len(bench.recorder.results) == 1, "the frame has its verdict"
        bench.clock.forward(0.05)
        return np.array([9, -9], np.float32)

    bench.models["b"] = slow
    bench.offer(bundle("b"), Probation(10, 0.9))
    assert bench.feed(image(230)) == [PASS]
    assert bench.recorder.results[0].latency_ms < 50


@pytest.mark.parametrize("when", ["offered", "unseen", "in charge", "kept"])
def test_a_trial_that_is_withdrawn_leaves_the_incumbent_in_charge(when: str) -> None:
    if when in ("offered", "unseen"):
        bench = Bench(installed=bundle("a"), enrol_frames=1000)
        if when == "offered":
            bench.switch.offer(_trial("b", Probation(3, 0.9)))
        else:
            bench.offer(bundle("b"), Probation(3, 0.9))
    else:
        bench = on_probation()
    if when == "kept":
        serve(bench, HOUR)
        outcome = bench.outcome()
        assert outcome is not None and outcome.kept
    bench.switch.withdraw("b" if when == "offered" else "d1", "b" * 8)
    bench.loop.step()
    bench.await_loading()
    bench.loop.step()
    assert in_charge(bench) == "a"
    assert bench.feed(*bright(5, 20)) == [PASS] * 5
    outcome = bench.outcome()
    assert outcome is None if when in ("offered", "kept") else (outcome is not None and not outcome.kept)


@pytest.mark.parametrize("loads", [True, False])
def test_what_is_recalled_judges_no_more_whether_or_not_its_successor_loads(loads: bool) -> None:
    other = bundle("b" if loads else "unloadable")
    bench = Bench(installed=bundle("a"), enrol_frames=1000)
    bench.switch.recall(other)
    assert bench.switch.judge() is None, "it is changing"
    bench.loop.step()
    bench.await_loading()
    bench.loop.step()
    model = bench.serving.in_charge
    assert (model.bundle.digest if model else "") == (other.digest if loads else "")
    assert bench.switch.judge() == (other.digest if loads else "")


def test_a_degraded_station_asks_no_second_model_and_serves_its_time_on() -> None:
    bench = on_probation(Probation(3, 0.9, serve_s=100.0))
    bench.shadow = False
    assert bench.feed(*bright(3, 10)) == [PASS] * 3
    serve(bench, 100)
    outcome = bench.outcome()
    assert outcome is not None and outcome.kept and outcome.frames == 3


def test_a_wall_clock_that_jumps_ends_no_trial_and_keeps_nothing() -> None:
    bench = on_probation()
    for jump_s in (-30 * 365 * 86_400.0, 60 * 365 * 86_400.0):
        bench.clock.wall += jump_s
        bench.loop.step()
        assert bench.outcome() is None and in_charge(bench) == "b"


def test_the_first_bundle_of_a_station_serves_its_time_too() -> None:
    bench = Bench(enrol_frames=1000)
    bench.offer(bundle("b"), Probation(3, 0.9, serve_s=60.0))
    assert bench.feed(*bright(3)) == [PASS] * 3
    bench.loop.step()
    assert bench.outcome() is None
    bench.runtimes["b"].act = _fails
    assert bench.feed(*bright(2, 5)) == [review("broken_model"), review("no_model")]
    outcome = bench.outcome()
    assert outcome is not None and not outcome.kept


def test_an_incumbent_that_ran_its_smaller_artefact_finds_its_way_back_after_a_candidate_that_failed_in_charge() -> (
    None
):
    two = InstalledBundle("two", bundle("two").folder, two_artefacts(small_first=False))
    bench = Bench(installed=two, enrol_frames=1000)
    bench.smaller = True
    bench.loop.step()
    bench.await_loading()
    bench.loop.step()
    assert in_use(bench) == "int8.onnx"
    bench.offer(bundle("b"), SHORT)
    bench.feed(*bright(3))
    bench.loop.step()
    assert in_charge(bench) == "b"
    bench.runtimes["b"].act = _fails
    bench.feed(*bright(2, 10))
    assert in_use(bench) == "int8.onnx"
    bench.smaller = False
    bench.loop.step()
    bench.await_loading()
    bench.loop.step()
    assert in_use(bench) == "fp32.onnx"


def test_after_a_candidate_was_kept_the_incumbent_is_what_is_fallen_back_to() -> None:
    bench = Bench(installed=bundle("a"), enrol_frames=1000)
    bench.offer(bundle("b"), Probation(3, 0.9, serve_s=4.0))
    bench.feed(*bright(3))
    serve(bench, 8)
    outcome = bench.outcome()
    assert outcome is not None and outcome.kept
    bench.runtimes["b"].act = _fails
    assert bench.feed(*bright(5, 10)) == [review("broken_model")] * 5
    bench.await_loading()
    assert bench.feed(*bright(2, 20)) == [PASS] * 2 and in_charge(bench) == "a"
