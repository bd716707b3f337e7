"""The controller's thread: it opens its adapter, beats, answers in time, and outlives an adapter that dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from agent.clock import SystemClock
from agent.line_io.desk import Desk, DeskRules
from agent.line_io.plc_loop import PlcLoop
from agent.ports.line import Answer, LineState, Lost
from agent.ports.recorder import Result
from contract.errors import TransientError
from tests.fakes.agent_line import ListLog


@dataclass
class Wire:
    """An adapter whose controller is this test."""

    refuses: int = 0
    answers: list[Answer] = field(default_factory=list)
    states: list[LineState] = field(default_factory=list)
    started: int = 0
    stopped: int = 0
    breaks: bool = False
    wrong: str = ""

    def start(self) -> None:
        self.started += 1
        if self.started <= self.refuses:
            raise TransientError("the port is taken")

    def show(self, answer: Answer) -> None:
        self.answers.append(answer)

    def beat(self, state: LineState) -> None:
        if self.breaks:
            self.breaks = False
            raise OSError("the wire is cut")
        self.states.append(state)

    def trouble(self) -> str:
        return self.wrong

    def stop(self) -> None:
        self.stopped += 1


class Running:
    """A loop on its thread."""

    def __init__(self, wire: Wire, **rules: float) -> None:
        self.desk = Desk(DeskRules(**rules), SystemClock(), lambda: self.missing)  # type: ignore[arg-type]
        self.missing = ""
        self.log = ListLog()
        self.loop = PlcLoop(self.desk, lambda _desk: wire, SystemClock(), self.log, heartbeat_s=0.1, retry_s=0.05)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.loop.run, args=(self.stop,))
        self.thread.start()

    def end(self) -> None:
        self.stop.set()
        self.thread.join(60.0)
        assert not self.thread.is_alive()


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def running(wire: Wire) -> Iterator[Running]:
    made = Running(wire, timeout_s=0.15)
    until(lambda: bool(wire.states))
    yield made
    made.end()


def until(what: object, within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.005)


def test_it_beats_and_says_at_once_that_it_is_not_ready(wire: Wire, running: Running) -> None:
    until(lambda: len(wire.states) >= 3)
    assert wire.states[-1].ready
    running.missing = "no model is installed"
    until(lambda: not wire.states[-1].ready)
    assert wire.states[-1].why == "no model is installed"


def test_a_part_without_a_frame_is_ejected_in_time(wire: Wire, running: Running) -> None:
    asked_s = time.monotonic()
    assert running.desk.trigger(1, "part-1") is None
    until(lambda: bool(wire.answers))
    assert time.monotonic() - asked_s >= 0.15
    assert [(each.ask, each.part, each.verdict, each.lost) for each in wire.answers] == [
        (1, "part-1", "REJECT", Lost.TIMEOUT)
    ]


def test_an_adapter_that_breaks_is_opened_again(wire: Wire, running: Running) -> None:
    wire.breaks = True
    until(lambda: wire.started == 2)
    beats = len(wire.states)
    until(lambda: len(wire.states) > beats)
    assert (wire.stopped, running.loop.faults) == (1, 1)
    running.desk.trigger(1, "")
    until(lambda: bool(wire.answers))


def test_one_that_died_is_opened_again(wire: Wire, running: Running) -> None:
    wire.wrong = "its server ended"
    until(lambda: wire.started == 2)
    wire.wrong = ""
    until(lambda: running.loop.trouble == "")
    assert any("its server ended" in line for line in running.log.lines)


def test_what_waits_at_the_stop_is_answered(wire: Wire, running: Running) -> None:
    running.desk.rules = DeskRules(timeout_s=60.0)
    running.desk.trigger(5, "")
    running.end()
    assert [(each.ask, each.lost) for each in wire.answers] == [(5, Lost.STOPPED)]
    assert wire.stopped == 1


def test_a_port_that_is_taken_is_tried_again_and_answers_are_counted_meanwhile() -> None:
    wire = Wire(refuses=1_000_000)
    running = Running(wire, timeout_s=0.01)
    running.desk.trigger(1, "")
    until(lambda: wire.started >= 3 and running.desk.counts().unshown == 1)
    wire.refuses = 0  # it is free
    until(lambda: bool(wire.states))
    assert wire.answers == []
    assert running.desk.counts().unshown == 1
    running.end()


def test_what_a_broken_adapter_was_asked_is_given_up_with_it(wire: Wire) -> None:
    made = Running(wire, timeout_s=60.0)
    try:
        until(lambda: bool(wire.states))
        assert made.desk.trigger(1, "old") is None
        taken = made.desk.take(time.monotonic())
        assert taken is not None
        wire.breaks = True
        until(lambda: wire.started == 2)
        assert made.desk.counts().lost == {"gone": 1}
        made.desk.came_out(Result(1, 1.0, "old", "PASS", "", "ok", 0.9, 5.0, "d", asked=taken[0]), recorded=True)
        assert wire.answers == [] and made.desk.counts().late == 1
        assert made.desk.trigger(1, "new") is None, "its ask is free again"
    finally:
        made.end()


def test_nothing_is_shown_through_an_adapter_that_was_let_go(wire: Wire) -> None:
    made = Running(wire)
    made.end()
    made.desk.show(Answer(1, "p", "PASS"))
    assert Answer(1, "p", "PASS") not in wire.answers
    assert made.desk.counts().unshown == 1


def test_a_silence_that_is_over_before_anybody_looks_is_in_the_journal_all_the_same(running: Running) -> None:
    for why in ("its heart stopped", "its heart stopped", "", "", "its heart stopped", ""):
        running.desk.away(why)
    until(lambda: len(running.log.lines) >= 4)
    stopped, back = "the line's controller: its heart stopped", "the line's controller: it shows signs of life again"
    assert running.log.lines == [stopped, back, stopped, back] and running.loop.why_degraded() == ""
