"""A camera is read when the controller asks: one frame a trigger, captured after it, and every other way is counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.capture import Capture
from agent.clock import SystemClock
from agent.decide.causes import Drop
from agent.line_io.desk import Desk, DeskRules
from agent.line_io.triggered import TriggeredSource
from agent.ports.line import Answer, Lost, Refused
from agent.settings import load_settings
from agent.wiring import Station
from contract.errors import BadImage, CameraFault
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import ListLog, QueueSource
from tests.tiny_bundle import write_bundle

GREY = np.full((4, 4), 90, np.uint8)


def ready(**rules: object) -> tuple[HandClock, QueueSource, Desk, TriggeredSource, list[Answer]]:
    """Return a triggered camera, its desk, and what the desk showed."""
    clock = HandClock()
    camera, desk = QueueSource(clock), Desk(DeskRules(**rules), clock)  # type: ignore[arg-type]
    shown: list[Answer] = []
    desk.show = shown.append
    return clock, camera, desk, TriggeredSource(camera, desk, clock), shown


def test_frames_that_nobody_asked_for_are_let_go() -> None:
    _, camera, desk, source, _ = ready()
    camera.put(GREY, GREY)
    assert (source.read(), source.read()) == (None, None)
    desk.trigger(41, "part-41")
    camera.put(GREY, GREY)
    frame = source.read()
    assert frame is not None
    assert (frame.part, frame.asked) == ("part-41", 1)
    assert source.read() is None


def test_a_camera_that_lags_shows_the_part_only_later() -> None:
    clock, camera, desk, source, _ = ready(delay_s=0.2, timeout_s=1.0)
    desk.trigger(1, "")
    camera.put(GREY)
    assert source.read() is None
    clock.forward(0.2)
    camera.put(GREY)
    assert source.read() is not None


@pytest.mark.parametrize(("error", "cause"), [(CameraFault("gone"), "camera_fault"), (BadImage("torn"), "bad_image")])
def test_a_fault_answers_the_part_it_was_for(error: Exception, cause: str) -> None:
    _, camera, desk, source, shown = ready()
    desk.trigger(1, "a")
    camera.put(error)
    with pytest.raises(type(error)):
        source.read()
    assert [(each.verdict, each.lost, each.cause) for each in shown] == [("REJECT", Lost.FAULT, cause)]


def test_a_fault_while_no_part_is_there_is_passed_on_and_answers_nobody() -> None:
    _, camera, _, source, shown = ready()
    camera.put(CameraFault("gone"))
    with pytest.raises(CameraFault):
        source.read()
    assert shown == []


def test_a_camera_with_triggers_of_its_own_hands_on_every_frame() -> None:
    clock = HandClock()
    camera, desk = QueueSource(clock), Desk(DeskRules(), clock)
    source = TriggeredSource(camera, desk, clock, own_triggers=True)
    camera.put(GREY, GREY)
    unasked = source.read()
    assert unasked is not None and unasked.asked == 0
    clock.forward(1.0)
    desk.trigger(1, "asked")
    frame = source.read()
    assert frame is not None and (frame.part, frame.asked) == ("asked", 1)


def test_parts_that_were_never_seen_are_counted_as_missed_triggers() -> None:
    clock, camera, desk, source, _ = ready(timeout_s=0.1)
    capture = Capture("", source, lambda: source, clock, missed=lambda: desk.missed)
    for number in range(5):
        desk.trigger(number, "")
        if number in (1, 2):
            clock.forward(0.2)
            desk.expire()
            continue
        camera.put(GREY)
        frame = source.read()
        assert frame is not None
        capture._wanted(frame)
    assert capture.dropped() == {Drop.MISSED_TRIGGER.value: 2}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Station, list[Answer]]]:
    """A whole station on a free-running simulated camera whose controller is this test."""
    write_bundle(tmp_path / "tiny.plb", pass_at=0.5)
    (tmp_path / "agent.toml").write_text(
        'station = "s1"\nhome = "state"\n[source]\nfps = 50.0\nheight = 32\nwidth = 32\n[broker]\nhost = ""\n'
        '[bundle]\npath = "tiny.plb"\n[line]\ndeadline_ms = 5000.0\n[plc]\nkind = "modbus"\nport = 1\n[api]\nport = 0\n'
    )
    made = Station(load_settings(tmp_path / "agent.toml"), SystemClock(), ListLog())
    shown: list[Answer] = []
    desk = made._line.plc.desk
    assert desk is not None
    desk.show = shown.append
    made._line.plc.loop = None  # no adapter: this test is the controller
    stop = threading.Event()
    thread = threading.Thread(target=made.run, args=(stop,))
    thread.start()
    yield made, shown
    stop.set()
    thread.join(60.0)
    made.close()
    assert not thread.is_alive()


def test_a_whole_station_judges_what_was_asked_for_and_nothing_else(running: tuple[Station, list[Answer]]) -> None:
    station, shown = running
    desk = station._line.plc.desk
    assert desk is not None
    until = time.monotonic() + 60.0
    while not desk.state().ready:
        assert time.monotonic() < until, desk.state().why
        time.sleep(0.01)
    for ask in range(20):
        assert desk.trigger(ask, f"part-{ask}") is None
        while len(shown) <= ask:
            assert time.monotonic() < until
            time.sleep(0.001)
    assert [(each.ask, each.part) for each in shown] == [(ask, f"part-{ask}") for ask in range(20)]
    assert {each.verdict for each in shown} <= {"PASS", "REJECT", "REVIEW"}
    assert all(each.lost is None and each.latency_ms > 0 for each in shown)
    station._models.in_charge = lambda: None  # type: ignore[method-assign]
    assert desk.trigger("without a model", "") is Refused.NOT_READY
    # Fifty frames a second went by; only what was asked for is on record.
    assert station.frame_loop.frames == 20
    counts = desk.counts()
    assert (counts.triggers, counts.answered, counts.waiting) == (21, 20, 0)
