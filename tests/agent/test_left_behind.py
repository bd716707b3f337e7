"""What hangs for good: whatever it is and however often, nothing is forgotten, nothing grows and the rest goes on."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import agent.supervisor
from agent.beside import Wanted
from agent.capture import Capture
from agent.loading import Model
from agent.ports.source import Frame
from contract.errors import CameraFault, TransientError
from tests.agent.test_supervisor import CLOCK, Line, Parts, hang_at, notices, said_to
from tests.fakes.agent_line import BrightRuntime, bundle

__all__ = ["notices"]


class Live(Parts):
    """A camera that does not wait: a hundred parts a second, for ever."""

    waits = False

    def __init__(self) -> None:
        super().__init__(1 << 30)

    def read(self) -> Frame | None:
        time.sleep(0.01)
        return super().read()


class Dead(Parts):
    """A camera that hangs in every read, and in being closed, until `released`."""

    def __init__(self, released: threading.Event) -> None:
        super().__init__(1 << 30, lambda _n: bool(released.wait(60)) and None)
        self._released = released

    def close(self) -> None:
        self._released.wait(60)


def gone() -> Parts:
    raise CameraFault("no such device")


def wait_for(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    until_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until_s, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def running(line: Line) -> threading.Thread:
    runner = threading.Thread(target=line.run, daemon=True)
    runner.start()
    return runner


def stopped_with_all_accounted_for(line: Line, runner: threading.Thread) -> Counter[tuple[str, str]]:
    line.stop.set()
    runner.join(30)
    assert not runner.is_alive() and line.loop.done.is_set()
    assert [capture.pop() for capture in line.captures] == [None] * len(tuple(line.captures))
    captured, decided = line.accounted()
    dropped = sum(sum(capture.dropped().values()) for capture in line.captures)
    assert captured == decided + dropped
    assert decided == len(line.verdicts())
    return Counter(line.verdicts())


def test_a_model_that_hangs_again_at_the_stop_leaves_no_frame_and_no_window_behind() -> None:
    others = [Capture(name, Live(), gone, CLOCK) for name in ("c1", "c2")]
    line = Line(Live(), wedged_s=60.0, stop_within_s=2.0, others=others)
    line.hooks["a"], released = hang_at(*range(5, 1_000))
    runner = running(line)
    wait_for(lambda: line.loop.why_stalled(0.3) != "")
    seen = stopped_with_all_accounted_for(line, runner)
    released.set()
    assert seen["PASS", ""] == 5
    # The one in hand, and what waited before each camera; nothing was judged by what had hung.
    assert seen["REVIEW", "late"] >= 4
    assert line.supervisor.failed == ""


def test_a_model_beside_that_hangs_again_at_the_stop_leaves_nothing_behind_either() -> None:
    hook, released = hang_at(*range(5, 1_000))

    def load(_wanted: Wanted) -> Model:
        def act(_tensor: object) -> np.ndarray:
            hook()
            return np.array([9, -9], np.float32)

        held = bundle("beside")
        return Model(held, BrightRuntime(act), held.manifest.artefacts[0], "0" * 64)

    line = Line(Live(), wedged_s=60.0, stop_within_s=2.0, beside=load)
    assert line.beside is not None
    line.beside.want([Wanted("x", "x")])
    runner = running(line)
    wait_for(lambda: line.loop.why_stalled(0.3) != "")
    seen = stopped_with_all_accounted_for(line, runner)
    released.set()
    assert seen["PASS", ""] == 5


@pytest.mark.slow
def test_a_camera_that_is_dead_for_days_leaves_a_handful_of_threads_behind(
    monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    # Ten minutes pass in a twentieth of a second.
    monkeypatch.setattr(agent.supervisor, "RESTARTS_PER_S", 20.0)
    dead = Capture("dead", Dead(released), lambda: Dead(released), CLOCK)
    line = Line(Live(), wedged_s=0.1, others=[dead])
    before = threading.active_count()
    runner = running(line)
    wait_for(lambda: line.supervisor.restarts >= 12)
    assert threading.active_count() < before + 20
    assert any("hangs in each of 5 threads" in said for said in line.log.lines)
    judged = line.loop.frames
    wait_for(lambda: line.loop.frames > judged)
    stopped_with_all_accounted_for(line, runner)


def test_a_thread_that_comes_back_lets_its_camera_be_opened_again() -> None:
    every: list[threading.Event] = []

    def another() -> Dead:
        every.append(threading.Event())
        return Dead(every[-1])

    capture = Capture("dead", another(), another, CLOCK)
    capture.start()
    for _ in range(5):
        capture.restart()
    with pytest.raises(TransientError, match="hangs in each of 5 threads"):
        capture.restart()
    assert len(every) == 6
    every[2].set()
    until_s = time.monotonic() + 60
    while len(every) == 6 and time.monotonic() < until_s:
        with contextlib.suppress(TransientError):
            capture.restart()
    assert len(every) == 7
    for event in every:
        event.set()


@pytest.mark.slow
def test_a_camera_whose_opening_hangs_holds_up_neither_the_watchdog_nor_the_stop(
    notices: tuple[str, socket.socket], released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.capture._OPEN_WITHIN_S", 0.2)
    path, listener = notices

    def hang() -> Parts:
        released.wait(60)
        return Dead(released)

    dead = Capture("dead", Dead(released), hang, CLOCK)
    line = Line(Live(), service=path, others=[dead], wedged_s=0.3)
    runner = running(line)
    wait_for(lambda: any("was not opened within" in said for said in line.log.lines))
    said_to(listener)
    fed, until_s = 0, time.monotonic() + 60
    while fed < 3 and time.monotonic() < until_s:
        fed += said_to(listener).count("WATCHDOG=1")
    assert fed >= 3
    began_s = time.monotonic()
    stopped_with_all_accounted_for(line, runner)
    assert time.monotonic() - began_s < 30  # the hang lasts 60


def test_what_opens_too_late_is_closed_again(released: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.capture._OPEN_WITHIN_S", 0.1)
    closed = threading.Event()

    class Late(Parts):
        def close(self) -> None:
            closed.set()

    def slow() -> Parts:
        released.wait(60)
        return Late(3)

    capture = Capture("slow", Parts(3), slow, CLOCK)
    with pytest.raises(TransientError, match="was not opened within"):
        capture.restart()
    released.set()
    assert closed.wait(60)


@pytest.mark.slow
def test_a_folder_that_has_ended_keeps_no_station_alive_whose_only_camera_is_dead(
    notices: tuple[str, socket.socket], released: threading.Event
) -> None:
    path, listener = notices
    dead = Capture("dead", Dead(released), gone, CLOCK)
    line = Line(Parts(20), service=path, others=[dead], wedged_s=0.2)
    runner = running(line)
    wait_for(lambda: line.supervisor.restarts > 0)
    said_to(listener)
    said: list[str] = []
    until_s = time.monotonic() + 90
    while runner.is_alive() and time.monotonic() < until_s:
        said += said_to(listener)
    assert not runner.is_alive()
    assert "WATCHDOG=1" not in said
    assert line.supervisor.failed == "no camera can be read any more"
    assert line.verdicts() == [("PASS", "")] * 20


@pytest.mark.slow
def test_an_end_that_hangs_itself_is_an_error_and_the_station_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    line = Line(Live(), wedged_s=60.0, stop_within_s=1.0)

    def hang(_window: int, _summary: object) -> bool:
        return released.wait(60)

    monkeypatch.setattr(line.recorder, "close_window", hang)
    runner = running(line)
    wait_for(lambda: line.loop.frames > 3)
    line.stop.set()
    runner.join(30)
    assert not runner.is_alive()
    assert line.supervisor.failed == "the frame loop hangs beyond help at the stop"


def test_a_loop_that_has_ended_is_not_taken_over() -> None:
    line = Line(Parts(3))
    line.run()
    assert line.loop.done.is_set()
    assert not line.loop.replace()
