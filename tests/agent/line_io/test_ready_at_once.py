"""READY follows what it depends on as that changes, not as somebody next looks: here nobody looks for an hour."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from agent.clock import SystemClock
from agent.decide.causes import Cause
from agent.line_io import plc_loop
from agent.line_io.desk import Desk, DeskRules
from agent.line_io.modbus_map import Bit, In
from agent.line_io.plc_loop import PlcLoop
from agent.line_io.triggered import TriggeredSource
from agent.plc_wiring import Plc
from agent.ports.line import LineState
from agent.ports.recorder import Result
from agent.ports.source import Frame
from agent.settings import load_settings
from contract.errors import CameraFault
from tests.agent.line_io.line_rig import TOPIC, MqttController
from tests.agent.line_io.test_plc_loop import Wire, until
from tests.agent.test_frame_loop import Bench, image
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import ListLog, bundle
from tests.fakes.modbus_line import Line
from tests.fakes.modbus_plc import ModbusPlc
from tests.fixtures_broker import Broker

HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plc_loop, "_LOOK_S", HOUR_S)


class Shown(Wire):
    """An adapter whose controller is this test; `changes` happen while a state is being shown."""

    def __init__(self, desk: Desk, changes: list[str]) -> None:
        super().__init__()
        self._desk, self.why, self.changes = desk, "", changes

    def beat(self, state: LineState) -> None:
        super().beat(state)
        if self.changes:
            self.why = self.changes.pop(0)
            self._desk.look_again()


@contextmanager
def shown(*changes: str) -> Iterator[Shown]:
    """Run a loop whose heart beats once an hour."""
    desk = Desk(DeskRules(), SystemClock(), lambda: wire.why)
    wire = Shown(desk, list(changes))
    loop = PlcLoop(desk, lambda _desk: wire, SystemClock(), ListLog(), heartbeat_s=HOUR_S)
    stop = threading.Event()
    thread = threading.Thread(target=loop.run, args=(stop,))
    thread.start()
    try:
        until(lambda: bool(wire.states), 60.0)
        yield wire
    finally:
        stop.set()
        desk.look_again()
        thread.join(60)


def test_whoever_changes_what_ready_depends_on_has_it_shown() -> None:
    with shown() as wire:
        for missing in ("no model is installed", "", "results cannot be stored"):
            wire.why = missing
            wire._desk.look_again()
            until(lambda missing=missing: wire.states[-1].why == missing, 60.0)


def test_a_change_while_the_state_is_being_shown_is_not_overlooked() -> None:
    with shown("the camera failed", "", "no model is installed") as wire:
        until(lambda: len(wire.states) == 4, 60.0)
        assert [each.why for each in wire.states] == ["", "the camera failed", "", "no model is installed"]


def test_a_camera_that_fails_and_comes_back_tells_the_desk_as_it_does() -> None:
    class Camera:
        simulated = waits = False
        broken = True

        def read(self) -> Frame | None:
            if self.broken:
                raise CameraFault("unplugged")
            return Frame(np.zeros((4, 4), np.uint8), 1.0, 1.0)

        def exhausted(self) -> bool:
            return False

        def close(self) -> None: ...

    desk, camera = Desk(DeskRules(), HandClock()), Camera()
    source = TriggeredSource(camera, desk, HandClock())
    with pytest.raises(CameraFault):
        source.read()
    told = desk.told
    desk.came_out(Result(1, 1.0, "", "REVIEW", Cause.CAMERA_FAULT.value, "", 0.0, 1.0, "d"), recorded=True)
    assert desk.told == told + 1, "the line has counted the fault by now"
    camera.broken = False
    source.read()
    assert desk.told == told + 2
    source.read()
    assert desk.told == told + 2, "a camera that runs on is no news, at a thousand frames a second"


def test_a_model_that_comes_or_goes_is_news() -> None:
    bench, told = Bench(), []
    bench.loop._on_model = lambda: told.append(bench.serving.in_charge)
    bench.loop.step()
    assert told == []
    bench.serving.begin(bundle("a"))
    bench.feed(image(230))
    assert len(told) == 1 and told[0] is not None
    bench.feed(image(230, 1))
    assert len(told) == 1


def test_each_reading_over_modbus_asks_anew() -> None:
    line = Line(heartbeat_s=30.0)
    try:
        with closing(ModbusPlc(line.port)) as plc:
            assert plc.bits() & Bit.READY
            line.why = "no model is installed"
            seen = plc.inputs()
            assert (seen[In.STATE] & Bit.READY, bool(seen[In.STATE] & Bit.FAULT)) == (0, True)
            line.why = ""
            assert plc.bits() & Bit.READY
    finally:
        line.stop.set()
        line.desk.look_again()
        line.close()


def test_a_stop_reaches_a_controller_over_mqtt_before_anybody_looks(tmp_path: Path, broker: Broker) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        f'station = "s"\nhome = "."\n[plc]\nkind = "mqtt"\nport = {broker.port}\ntopic = "{TOPIC}"\nheartbeat_s = 60\n'
    )
    plc, controller = Plc(load_settings(config), SystemClock(), ListLog()), MqttController(broker.port)
    stop, end = threading.Event(), threading.Event()
    assert plc.loop is not None
    thread = threading.Thread(target=plc.loop.run, args=(end,))
    thread.start()
    try:
        controller.state(lambda said: said["why"] == "the station starts")
        plc.begin(stop, lambda: "the station stops" if stop.is_set() else "")
        controller.state(lambda said: said["ready"])
        stop.set()
        assert controller.state(lambda said: not said["ready"])["why"] == "the station stops"
        assert thread.is_alive()
    finally:
        stop.set()
        end.set()
        plc.look_again()
        thread.join(30)
        controller.close()
        plc.close()
