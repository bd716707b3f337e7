"""An adapter that is opened anew: nothing that its predecessor was asked is answered to it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent.clock import SystemClock
from agent.line_io import modbus_map as m
from agent.line_io.desk import Desk, DeskRules
from agent.line_io.modbus_handshake import Handshake
from agent.line_io.modbus_map import Hold, In
from agent.plc_wiring import open_adapter
from agent.ports.recorder import Result
from agent.settings import load_settings
from tests.agent.line_io.line_rig import until
from tests.fakes.agent_clock import HandClock
from tests.fakes.modbus_line import Line, QuietLog
from tests.fakes.modbus_plc import ModbusPlc
from tests.fixtures_broker import free_port


def test_a_new_adapter_never_gets_what_the_old_one_was_asked() -> None:
    line = Line(timeout_s=60.0)
    try:
        plc = ModbusPlc(line.port)
        plc.begin()
        plc.ask(1, "old")
        plc.until(lambda seen: seen[In.STATUS] == m.Status.BUSY)
        old = line.desk.take(line.clock.monotonic())
        line.loop._let_go()  # as when it was in trouble for too long
        plc.close()
        until(lambda: len(line.adapters) == 2 and line.loop._adapter is not None)
        plc = ModbusPlc.at_last(line.port)
        plc.begin()
        plc.ask(1, "new")
        seen = plc.until(lambda seen: seen[In.STATUS] != m.Status.NONE)
        assert seen[In.STATUS] == m.Status.BUSY, "a request of before stands in its way"
        line.answer(old, "PASS")  # the frame of the old part is judged at last
        time.sleep(0.2)
        assert plc.inputs()[In.STATUS] == m.Status.BUSY
        line.judge("REJECT")
        assert plc.answered(1)[In.VERDICT] == m.REJECT
        counts = line.desk.counts()
        assert (counts.answered, counts.lost, counts.late) == (1, {"gone": 1}, 1)
        plc.close()
    finally:
        line.close()


def test_a_part_named_by_bytes_that_are_no_text_is_read_all_the_same() -> None:
    line = Line()
    try:
        plc = ModbusPlc(line.port)
        line.desk.rules = type(line.desk.rules)(triggers=False)
        line.desk.came_out(Result(1, 10.0, "caf\udce9.png", "PASS", "", "good", 0.9, 5.0, "d"), recorded=True)
        seen = plc.until(lambda seen: seen[In.STATUS] == m.Status.VERDICT)
        assert m.text(seen[In.PART : In.PART + m.PART_WORDS]) == "caf.png"
        plc.close()
    finally:
        line.close()


def test_the_first_request_after_a_missing_heartbeat_is_out_of_step() -> None:
    clock = HandClock()
    desk = Desk(DeskRules(timeout_s=5.0), clock)
    hands = Handshake(desk, clock.monotonic, silence_s=0.3)
    desk.show = hands.show
    hands.write(Hold.REQUEST, [0])
    hands.write(Hold.HEARTBEAT, [1])
    clock.forward(0.5)
    hands.beat()
    hands.tick()
    hands.write(Hold.HEARTBEAT, [2])
    hands.write(Hold.REQUEST, [7])  # it may have been meant for a part of before
    assert hands.inputs(In.ASK, 5) == [7, m.Status.REFUSED, m.REJECT, 0, m.Reason.OUT_OF_STEP]
    hands.write(Hold.REQUEST, [8])
    assert hands.inputs(In.ASK, 2) == [8, m.Status.BUSY]


@pytest.mark.parametrize(("triggers", "status"), [(True, m.Status.NONE), (False, m.Status.VERDICT)])
def test_a_frame_that_nobody_asked_for_is_shown_only_to_a_controller_that_listens(
    tmp_path: Path, triggers: bool, status: m.Status
) -> None:
    config, port = tmp_path / "agent.toml", free_port()
    config.write_text(
        f'station = "s"\nhome = "h"\n[plc]\nkind = "modbus"\nport = {port}\ntriggers = {str(triggers).lower()}\n'
    )
    desk = Desk(DeskRules(triggers=triggers), SystemClock())
    line = open_adapter(load_settings(config), desk, SystemClock(), QuietLog())
    desk.show = line.show
    line.start()
    try:
        plc = ModbusPlc.at_last(port)
        desk.came_out(Result(1, 10.0, "p", "PASS", "", "good", 0.9, 5.0, "d"), recorded=True)
        line.beat(desk.state())
        assert plc.inputs()[In.STATUS] == status
        assert bool(plc.bits() & m.Bit.PASS) == (not triggers)
        plc.close()
    finally:
        line.stop()
