"""An adapter that is opened anew: nothing that its predecessor was asked is answered to it."""

from __future__ import annotations

import time

from agent.clock import SystemClock
from agent.line_io import modbus_map as m
from agent.line_io.modbus_map import In
from agent.ports.recorder import Result
from tests.agent.line_io.line_rig import until
from tests.fakes.modbus_line import Line
from tests.fakes.modbus_plc import ModbusPlc


def test_a_new_adapter_never_gets_what_the_old_one_was_asked() -> None:
    line = Line(timeout_s=60.0)
    try:
        plc = ModbusPlc(line.port)
        plc.begin()
        plc.ask(1, "old")
        plc.until(lambda seen: seen[In.STATUS] == m.Status.BUSY)
        old = line.desk.take(SystemClock().monotonic())
        line.loop._let_go()  # as when it was in trouble for too long
        plc.close()
        until(lambda: len(line.adapters) == 2 and line.loop._adapter is not None, 10.0)
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
