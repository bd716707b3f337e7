"""No verdict of another part: cameras that stall, hang, come back late or fail beside a controller that goes on asking."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.meter import LineMeter
from agent.capture import Capture, Captures
from agent.clock import SystemClock
from agent.decide.causes import Drop
from agent.line_io.desk import Desk, DeskRules
from agent.line_io.triggered import TriggeredSource
from agent.plc_wiring import Plc
from agent.ports.line import Answer, Lost
from agent.ports.recorder import Result
from agent.ports.source import Frame
from agent.settings import load_settings
from agent.wiring import Station
from contract.errors import BadImage, CameraFault, InvalidConfig
from tests.agent.line_io.line_rig import until
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import ListLog, QueueSource
from tests.tiny_bundle import write_bundle

GREY = np.full((4, 4), 90, np.uint8)


def shown_by(desk: Desk) -> list[Answer]:
    shown: list[Answer] = []
    desk.show = shown.append
    return shown


def result(asked: int, verdict: str = "PASS", cause: str = "", part: str = "p") -> Result:
    return Result(1, 10.0, part, verdict, cause, "ok", 0.9, 5.0, "d", asked=asked)


def test_a_frame_after_a_camera_stalled_is_of_the_part_that_is_there_now() -> None:
    clock = HandClock()
    desk, camera = Desk(DeskRules(timeout_s=1.0), clock), QueueSource(clock)
    shown, source = shown_by(desk), TriggeredSource(camera, desk, clock)
    for ask in (1, 2, 3):
        desk.trigger(ask, f"part-{ask}")
        clock.forward(0.1)
    camera.put(GREY)
    frame = source.read()
    assert frame is not None and frame.part == "part-3"
    assert [(each.ask, each.verdict, each.lost) for each in shown] == [
        (1, "REJECT", Lost.TIMEOUT),
        (2, "REJECT", Lost.TIMEOUT),
    ]
    assert desk.missed == 2


def test_a_camera_that_lags_still_shows_the_part_before() -> None:
    clock = HandClock()
    desk, camera = Desk(DeskRules(timeout_s=2.0, delay_s=0.3), clock), QueueSource(clock)
    shown, source = shown_by(desk), TriggeredSource(camera, desk, clock)
    desk.trigger(1, "part-1")
    clock.forward(0.2)
    desk.trigger(2, "part-2")
    for wait_s, part in ((0.1, "part-1"), (0.2, "part-2")):
        clock.forward(wait_s)
        camera.put(GREY)
        frame = source.read()
        assert frame is not None and frame.part == part
    assert shown == []


class Gate:
    """A camera whose driver holds a reading until it is let go, then gives a frame, or raises."""

    simulated = False
    waits = False

    def __init__(self, item: Exception | None = None) -> None:
        self.item, self.reading, self.go = item, threading.Event(), threading.Event()

    def read(self) -> Frame | None:
        self.reading.set()
        if not self.go.wait(0.05 if self.item is None and self.go.is_set() else 30.0):
            return None
        self.go.clear()
        if self.item is not None:
            raise self.item
        clock = SystemClock()
        return Frame(GREY, clock.now(), clock.monotonic())

    def exhausted(self) -> bool:
        return False

    def close(self) -> None:
        pass


@pytest.mark.parametrize("item", [None, CameraFault("gone")])
def test_a_thread_that_was_left_behind_answers_nobody(item: Exception | None) -> None:
    clock = SystemClock()
    desk = Desk(DeskRules(timeout_s=30.0), clock)
    shown, gates = shown_by(desk), [Gate(item), Gate()]
    sources = iter([TriggeredSource(gate, desk, clock) for gate in gates])
    capture = Capture("", next(sources), lambda: next(sources), clock)
    captures = Captures([capture])
    captures.start()
    try:
        assert gates[0].reading.wait(60.0)
        capture.restart()
        assert gates[1].reading.wait(60.0)
        desk.trigger(1, "part-1")
        gates[0].go.set()
        until(lambda: not gates[0].go.is_set(), 60.0)
        assert captures.take(0.2) is None and shown == [] and desk.wanting()
        gates[1].go.set()
        taken = captures.take(60.0)
        assert taken is not None and taken.frame is not None and taken.frame.part == "part-1"
    finally:
        gates[0].go.set()
        captures.stop()
        gates[1].go.set()
        captures.close()


def test_parts_that_went_by_while_the_camera_was_opened_afresh_are_counted() -> None:
    clock = HandClock()
    desk = Desk(DeskRules(timeout_s=0.1), clock)
    camera = QueueSource(clock)
    capture = Capture("", TriggeredSource(camera, desk, clock), lambda: TriggeredSource(camera, desk, clock), clock,
                      missed=lambda: desk.missed)  # fmt: skip
    for ask in range(3):
        desk.trigger(ask, "")
        clock.forward(0.2)
        desk.expire()
    assert capture.dropped() == {Drop.MISSED_TRIGGER.value: 3}


def line_with(camera: object, clock: HandClock) -> tuple[Desk, LineMeter, Callable[[], Frame | None]]:
    """Return a desk that is ready while its camera is, as in a station, and how to read that camera."""
    meter = LineMeter(clock)
    desk = Desk(DeskRules(), clock, lambda: meter.why_stalled(10.0))
    source = meter.source(TriggeredSource(camera, desk, clock, seen=lambda: meter.saw("")))  # type: ignore[arg-type]

    def read() -> Frame | None:
        try:
            return source.read()
        except CameraFault:
            meter.came_out(result(0, "REVIEW", "camera_fault"), recorded=True)
            return None

    return desk, meter, read


@pytest.mark.parametrize("waits", [False, True])
def test_a_camera_that_came_back_is_asked_again(waits: bool) -> None:
    clock = HandClock()
    camera = QueueSource(clock)
    camera.waits = waits
    desk, _, read = line_with(camera, clock)
    camera.put(*[CameraFault("gone")] * 6, GREY, GREY)
    for _ in range(6):
        if waits:
            desk.trigger(1, "")
        read()
        clock.forward(2.0)
    if not waits:
        assert "in a row" in desk.state().why
    for _ in range(3):
        clock.forward(2.0)
        read()
    assert desk.state().ready, desk.state().why
    assert desk.trigger(2, "part-2") is None
    camera.put(GREY)
    frame = read()
    assert frame is not None and frame.part == "part-2"


def test_another_cameras_fault_does_not_stop_the_line() -> None:
    clock = HandClock()
    meter = LineMeter(clock)
    for camera in ("", "top"):
        meter.source(QueueSource(clock), camera)
    for _ in range(5):
        meter.came_out(replace(result(0, "REVIEW", "camera_fault"), camera="top"), recorded=True)
    assert "camera 'top' failed" in meter.why_stalled(10.0)
    assert meter.why_stalled(10.0, "") == ""
    assert "camera 'top' failed" in meter.why_stalled(10.0, "top")


def test_an_image_that_nobody_took_in_time_is_kept_for_the_next_part() -> None:
    clock = HandClock()
    desk, camera = Desk(DeskRules(delay_s=0.2, timeout_s=1.0), clock), QueueSource(clock)
    camera.waits = True
    source = TriggeredSource(camera, desk, clock)
    camera.put(GREY)
    desk.trigger(1, "part-1")
    assert source.read() is None
    clock.forward(0.2)
    frame = source.read()
    assert frame is not None and frame.part == "part-1"


def test_a_closed_desk_takes_nothing_more() -> None:
    desk = Desk(DeskRules(), HandClock())
    desk.close()
    assert desk.trigger(1, "") is not None
    assert not desk.state().ready


def test_a_triggered_cameras_count_says_which_part_has_no_frame() -> None:
    clock = HandClock()
    desk, camera = Desk(DeskRules(timeout_s=1.0, waiting=9), clock), QueueSource(clock)
    shown = shown_by(desk)
    source = TriggeredSource(camera, desk, clock, own_triggers=True)
    counts = iter((5, 7, 9, 10, 12))
    read = camera.read
    camera.read = lambda: replace(read() or pytest.fail("no frame"), trigger=next(counts))  # type: ignore[method-assign]
    desk.trigger(1, "part-1")
    camera.put(GREY)
    assert (source.read() or pytest.fail("none")).part == "part-1"
    desk.trigger(2, "part-2")  # its frame is lost on the way
    desk.trigger(3, "part-3")
    camera.put(GREY)
    assert (source.read() or pytest.fail("none")).part == "part-3"
    desk.trigger(4, "part-4")  # and the next but one
    desk.trigger(5, "part-5")
    camera.put(GREY)
    assert (source.read() or pytest.fail("none")).part == "part-5"
    lost = [(2, "REJECT", Lost.TIMEOUT), (4, "REJECT", Lost.TIMEOUT)]
    assert [(each.ask, each.verdict, each.lost) for each in shown] == lost
    desk.trigger(6, "part-6")
    camera.put(GREY)
    assert (source.read() or pytest.fail("none")).part == "part-6"
    desk.trigger(7, "part-7")  # lost too, and said so before the next frame tells of it
    clock.forward(1.0)
    desk.expire()
    desk.trigger(8, "part-8")
    camera.put(GREY)
    assert (source.read() or pytest.fail("none")).part == "part-8"
    assert desk.missed == 3


def test_a_torn_frame_of_a_triggered_camera_costs_its_own_part_only() -> None:
    clock = HandClock()
    desk, camera = Desk(DeskRules(timeout_s=1.0), clock), QueueSource(clock)
    shown = shown_by(desk)
    source = TriggeredSource(camera, desk, clock, own_triggers=True)
    counts = iter((5, 7))
    read = camera.read
    camera.read = lambda: replace(read() or pytest.fail("no frame"), trigger=next(counts))  # type: ignore[method-assign]
    for ask, item in enumerate((GREY, BadImage("torn"), GREY), 1):
        desk.trigger(ask, f"part-{ask}")
        camera.put(item)
        if isinstance(item, BadImage):
            with pytest.raises(BadImage):
                source.read()
        else:
            assert (source.read() or pytest.fail("none")).part == f"part-{ask}"
    assert [(each.ask, each.lost) for each in shown] == [(2, Lost.FAULT)]


@pytest.mark.parametrize("first", ["the frame", "the request, read late"])
def test_a_camera_that_is_triggered_before_the_request_never_gives_one_part_the_next_ones_frame(first: str) -> None:
    clock = HandClock()
    desk, camera = Desk(DeskRules(timeout_s=1.0), clock), QueueSource(clock)
    shown = shown_by(desk)
    source = TriggeredSource(camera, desk, clock, own_triggers=True)
    for ask in range(1, 4):
        complete_s = clock.monotonic()
        clock.forward(0.01)
        if first != "the frame":
            desk.trigger(ask, f"part-{ask}")
        read = camera.read
        camera.put(GREY)
        camera.read = lambda: replace(read() or pytest.fail("none"), captured_monotonic=complete_s)  # type: ignore[method-assign] # noqa: B023
        frame = source.read()
        camera.read = read  # type: ignore[method-assign]
        assert frame is not None and frame.asked == 0
        if first == "the frame":
            desk.trigger(ask, f"part-{ask}")
        desk.expire()
        clock.forward(0.1)
    assert [(each.ask, each.verdict, each.lost) for each in shown] == [(n, "REJECT", Lost.TIMEOUT) for n in (1, 2, 3)]
    clock.forward(2.0)  # the pause after three in a row
    camera.put(GREY)
    assert (source.read() or pytest.fail("none")).asked == 0
    desk.trigger(8, "part-8")  # that was its frame, and the next part's comes before anybody has said so
    camera.put(GREY)
    assert (source.read() or pytest.fail("none")).asked == 0
    clock.forward(1.0)
    desk.expire()
    desk.trigger(9, "part-9")
    camera.put(GREY)
    frame = source.read()
    assert frame is not None and frame.part == "part-9"


def test_a_lag_of_a_camera_that_is_triggered_by_wire_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    text = (
        'station = "s"\nhome = "h"\n[source]\nkind = "v4l2"\ndevice = "/dev/video0"\nhardware_trigger = true\n[plc]\n'
    )
    config.write_text(f'{text}kind = "modbus"\n')
    assert load_settings(config).source.hardware_trigger
    config.write_text(f'{text}kind = "modbus"\ndelay_ms = 20.0\n')
    with pytest.raises(InvalidConfig, match=r"plc\.delay_ms"):
        load_settings(config)


@pytest.mark.parametrize(("wired", "overlap", "one"), [(True, False, True), (True, True, False), (False, False, False)])
def test_a_wired_camera_has_one_part_before_it_unless_the_plant_says_otherwise(
    tmp_path: Path, wired: bool, overlap: bool, one: bool
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        f'station = "s"\nhome = "{tmp_path}"\n[source]\nkind = "v4l2"\ndevice = "/dev/video0"\n'
        f'hardware_trigger = {str(wired).lower()}\n[plc]\nkind = "mqtt"\noverlap = {str(overlap).lower()}\n'
    )
    desk = Plc(load_settings(config), HandClock(), ListLog()).desk
    assert desk is not None and desk.rules.one_before_camera is one


def test_overlap_without_a_wired_camera_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(f'station = "s"\nhome = "{tmp_path}"\n[plc]\nkind = "modbus"\noverlap = true\n')
    with pytest.raises(InvalidConfig, match=r"plc\.overlap"):
        load_settings(config)


def test_a_camera_that_comes_back_while_another_opening_was_too_slow_keeps_its_place() -> None:
    clock = HandClock()
    meter = LineMeter(clock)
    camera = QueueSource(clock)
    here = meter.source(camera, "")
    meter.source(QueueSource(clock), "").close()  # opened at last, when nobody waited for it any more
    clock.forward(60.0)
    camera.put(GREY)
    assert here.read() is not None
    meter.came_out(result(0), recorded=True)
    clock.forward(11.0)
    here.read()
    assert meter.why_stalled(10.0) == ""
    new = meter.source(QueueSource(clock), "")
    here.close()
    clock.forward(11.0)
    new.read()
    assert meter.why_stalled(10.0) == ""


def test_a_stations_windows_know_of_the_parts_that_its_controller_missed(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('station = "s"\nhome = "h"\n[plc]\nkind = "modbus"\n')
    clock = HandClock()
    plc = Plc(load_settings(config), clock, ListLog())
    plc.why_not_ready = lambda: ""
    assert plc.desk is not None and plc.desk.trigger(1, "") is None
    clock.forward(10.0)
    plc.desk.expire()
    assert (plc.missed(""), plc.missed("another")) == (1, 0)


def test_a_station_is_ready_for_its_controller_while_another_of_its_cameras_fails(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny.plb", pass_at=0.5)
    config = tmp_path / "agent.toml"
    config.write_text(
        'station = "s1"\nhome = "state"\n[source]\nfps = 50.0\n[broker]\nhost = ""\n[bundle]\npath = "tiny.plb"\n'
        '[plc]\nkind = "modbus"\n[api]\nport = 0\n[[cameras]]\nname = "top"\nkind = "simulated"\nfps = 50.0\n'
    )
    station = Station(load_settings(config), SystemClock(), ListLog())
    try:
        for camera, why in (("top", ""), ("", "the camera failed 5 times in a row")):
            for _ in range(5):
                fault = replace(result(0, "REVIEW", "camera_fault"), camera=camera)
                station._line.meter.came_out(fault, recorded=True)
            assert station._why_not_ready() == why
        station._store.recorder.healthy = lambda: False  # type: ignore[method-assign]
        assert station._why_not_ready() == "results cannot be stored"
    finally:
        station.close()


EVENTS = st.lists(st.tuples(st.sampled_from(["trigger", "frame", "expire", "out"]), st.integers(0, 120)), max_size=60)


@given(EVENTS, st.sampled_from([0.0, 0.05, 0.3]))
def test_no_frame_is_given_to_a_part_after_which_another_came_before_it(
    events: list[tuple[str, int]], delay_s: float
) -> None:
    clock = HandClock()
    desk = Desk(DeskRules(waiting=4, timeout_s=0.5, delay_s=delay_s), clock)
    shown = shown_by(desk)
    asked: dict[str, float] = {}
    taken: list[tuple[int, str]] = []
    for ask, (what, wait_ms) in enumerate(events):
        clock.forward(wait_ms / 1e3)
        now_s = clock.monotonic()
        if what == "trigger" and desk.trigger(ask, f"part-{ask}") is None:
            asked[f"part-{ask}"] = now_s
        elif what == "frame" and (got := desk.take(now_s)) is not None:
            assert got[1] == max(
                (p for p in asked if asked[p] + delay_s <= now_s), key=lambda p: (asked[p], int(p[5:]))
            )
            taken.append(got)
        elif what == "out" and taken:
            number, part = taken.pop(0)
            desk.came_out(result(number, part=part), recorded=True)
        elif what == "expire":
            desk.expire()
    desk.close()
    assert sorted(int(each.part[5:]) for each in shown) == sorted(int(part[5:]) for part in asked)
    assert all(each.lost is None or each.verdict == "REJECT" for each in shown)
