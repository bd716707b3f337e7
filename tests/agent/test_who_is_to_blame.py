"""Who is given up when something hangs: that one, and nobody else; and what is left behind has no say any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.beside import Wanted
from agent.clock import SystemClock
from agent.loading import Model
from agent.ports.slots import Trial
from contract.messages import Probation
from tests.agent.test_supervisor import Line, Parts, hang_at, hangs_now, quick_turns
from tests.fakes.agent_line import BrightRuntime, bundle

__all__ = ["quick_turns"]


class Looker:
    """A model beside the one in charge; `hook` is run for each frame it looks at, and the threads in it are counted."""

    def __init__(self, hook: Callable[[], None] = lambda: None) -> None:
        self.hook, self.inside, self.most_inside = hook, 0, 0
        self.runtimes: list[BrightRuntime] = []

    def load(self, wanted: Wanted) -> Model:
        def act(_tensor: NDArray[Any]) -> NDArray[np.float32]:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            self.hook()
            self.inside -= 1
            return np.array([9, -9], np.float32)

        runtime = BrightRuntime(act)
        self.runtimes.append(runtime)
        installed = bundle(wanted.name)
        return Model(installed, runtime, installed.manifest.artefacts[0], "0" * 64)


def look_through(line: Line) -> None:
    assert line.beside is not None
    line.beside.want([Wanted("looker", "looker.plb")])
    assert line.beside.settle(20)


def test_a_model_beside_that_hangs_is_given_up_and_the_one_in_charge_stays() -> None:
    hang, released = hang_at(5)
    looker = Looker(hang)
    line = Line(Parts(300), installed=bundle("new"), previous=bundle("old"), beside=looker.load)
    look_through(line)
    line.run()
    verdicts = line.verdicts()
    assert verdicts[:6] == [("PASS", "")] * 5 + [("REVIEW", "late")]
    # Until it is loaded anew nobody looks through it, and nothing passes; the bundle in charge is the same.
    assert set(verdicts[6:]) <= {("REVIEW", "no_model"), ("PASS", "")}
    assert {result.bundle for result in line.recorder.results} == {"new" * 8}
    assert len(looker.runtimes) == 2
    assert not looker.runtimes[0].closed, "a thread is still inside it"
    assert looker.runtimes[1].closed
    released.set()
    assert line.accounted() == (300, 300)


def test_a_thread_that_was_left_behind_runs_no_model_any_more() -> None:
    looker = Looker(lambda: time.sleep(0.02))
    line = Line(Parts(100_000), installed=bundle("a"), previous=bundle("b"), beside=looker.load)
    look_through(line)
    line.hooks["a"], released = hang_at(5)
    runner = threading.Thread(target=line.supervisor.run, args=(line.stop,), daemon=True)
    runner.start()
    wait(lambda: line.supervisor.restarts == 1 and line.verdicts()[-1] == ("PASS", ""))
    # It comes back while its successor works: two threads in one model would share its buffers.
    released.set()
    seen = len(line.recorder.results)
    wait(lambda: len(line.recorder.results) > seen + 10)
    line.stop.set()
    runner.join(60)
    assert looker.most_inside == 1


def test_a_first_bundle_that_hangs_on_its_trial_is_turned_down_and_not_loaded_again() -> None:
    line = Line(Parts(100_000), installed=None)
    assert line.serving.in_charge is not None
    line.serving.in_charge = None
    line.hooks["first"], released = hang_at(*range(3, 1000))
    line.switch.offer(Trial(bundle("first"), "d1", Probation(frames=50, min_agreement=0.0)))
    runner = threading.Thread(target=line.supervisor.run, args=(line.stop,), daemon=True)
    runner.start()
    wait(lambda: line.serving.in_charge is not None)
    line.loadable.clear()
    outcome = line.switch.next_outcome(60.0)
    assert outcome is not None and not outcome.kept
    line.loadable.set()
    seen = len(line.recorder.results)
    wait(lambda: len(line.recorder.results) > seen + 50)
    line.stop.set()
    runner.join(60)
    released.set()
    assert set(line.verdicts()[seen + 5 :]) == {("REVIEW", "no_model")}
    assert line.supervisor.restarts == 1


def test_an_incumbent_that_hangs_beside_a_healthy_candidate_is_never_entered_by_a_second_thread() -> None:
    line = Line(Parts(100_000), installed=bundle("a"), previous=bundle("b"))
    inside = []
    released = threading.Event()

    def hang() -> None:
        inside.append(1)
        if len(inside) >= 5:
            hangs_now()
            released.wait(60)

    line.hooks["a"] = hang
    line.switch.offer(Trial(bundle("good"), "d1", Probation(frames=100_000, min_agreement=0.0)))
    runner = threading.Thread(target=line.supervisor.run, args=(line.stop,), daemon=True)
    runner.start()
    outcome = line.switch.next_outcome(60.0)
    assert outcome is not None and not outcome.kept and "in charge" in outcome.reason
    wait(lambda: line.recorder.results[-1].bundle == "b" * 8)
    line.stop.set()
    runner.join(60)
    released.set()
    assert len(inside) == 5


def test_what_was_to_replace_a_failing_bundle_does_not_replace_the_candidate_that_was_kept_meanwhile() -> None:
    line = Line(Parts(100_000, lambda _n: time.sleep(0.002)), installed=bundle("a"), previous=bundle("old"))
    looked, broken = threading.Event(), threading.Event()

    def fails() -> None:
        if broken.is_set():
            raise RuntimeError("a bug")

    line.hooks["a"], line.hooks["good"] = fails, looked.set
    line.switch.offer(Trial(bundle("good"), "d1", Probation(frames=100, min_agreement=0.0)))
    runner = threading.Thread(target=line.supervisor.run, args=(line.stop,), daemon=True)
    runner.start()
    assert looked.wait(30)
    line.loadable.clear()  # the one to fall back to takes its time
    broken.set()
    outcome = line.switch.next_outcome(60.0)
    assert outcome is not None and outcome.kept
    assert any("falling back" in said for said in line.log.lines)
    line.loadable.set()
    seen = len(line.recorder.results)
    wait(lambda: len(line.recorder.results) > seen + 50)
    line.stop.set()
    runner.join(60)
    assert {result.bundle for result in line.recorder.results[seen + 5 :]} == {"good" * 8}


@pytest.mark.slow
def test_a_process_that_was_paused_gives_nobody_up() -> None:
    clock = Paused()
    parts = Parts(100_000, lambda _n: time.sleep(0.002))
    line = Line(parts, installed=bundle("a"), previous=bundle("b"), clock=clock, wedged_s=5.0)
    line.hooks["a"] = lambda: time.sleep(0.3)
    runner = threading.Thread(target=line.supervisor.run, args=(line.stop,), daemon=True)
    runner.start()
    wait(lambda: len(line.recorder.results) >= 2)
    for _ in range(3):  # a frozen container, a moved virtual machine: nobody ran, and everybody looks late
        clock.ahead_s += 60.0
        seen = len(line.recorder.results)
        wait(lambda seen=seen: len(line.recorder.results) > seen + 4)  # type: ignore[misc]
    line.stop.set()
    runner.join(60)
    assert line.supervisor.restarts == 0, line.log.lines
    assert {result.bundle for result in line.recorder.results} == {"a" * 8}


def test_a_chore_or_a_camera_that_throws_what_nobody_foresaw_does_not_end_the_station() -> None:
    def hang(n: int) -> None:
        if n == 4:
            hangs_now()
            released.wait(60)

    released = threading.Event()
    line = Line(Parts(10, hang), Parts(7))

    def broken() -> None:
        raise RuntimeError("a bug")

    line.chore = broken
    line.run()
    released.set()
    assert line.verdicts() == [("PASS", "")] * 11
    assert any("RuntimeError: a bug" in said for said in line.log.lines)


class Paused(SystemClock):
    """A clock that jumps as it does for a process that was not run for a while."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


def wait(until: Callable[[], bool], within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not until():
        assert time.monotonic() < end
        time.sleep(0.005)
