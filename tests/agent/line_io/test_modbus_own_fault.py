"""A Modbus server that dies of a fault of ours and is made anew knows still who its controller is, and what it was told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import pytest
from pymodbus.constants import ExcCodes

from agent.line_io import modbus, modbus_server
from agent.line_io import modbus_map as m
from agent.line_io.modbus_map import Bit, Hold, In, Reason, Status
from tests.agent.line_io.line_rig import until
from tests.fakes.modbus_line import Line
from tests.fakes.modbus_plc import ModbusPlc

OTHER = "127.0.0.2"
FAULT = partial(RuntimeError, "a fault of ours")


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line(heartbeat_s=60.0)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer may be silent for as long as a busy machine is."""
    monkeypatch.setattr(modbus_server, "_WRITER_S", 3600.0)
    monkeypatch.setattr(modbus, "_AGAIN_S", 0.05)


def at_last(line: Line, source: str = "127.0.0.1") -> ModbusPlc:
    """Connect once somebody listens again."""
    end_s = time.monotonic() + 60.0
    while True:
        try:
            return ModbusPlc(line.port, source=source)
        except OSError:
            assert time.monotonic() < end_s
            time.sleep(0.02)


def die(line: Line, fault: BaseException, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Have the server's own loop fail once, and wait until it serves again."""
    adapter = line.adapters[-1]
    hands = adapter._handshake
    tick, left, said = hands.tick, [fault], len(line.log.faults)

    def fails() -> None:
        if left:
            meanwhile()
            raise left.pop()
        tick()

    hands.tick = fails  # type: ignore[method-assign]
    until(lambda: len(line.log.faults) > said)  # said once it listens no more
    until(adapter._listening.is_set)
    assert line.adapters == [adapter], "the server was made anew, the adapter was not"


def test_a_writer_that_was_cut_off_is_the_writer_still_and_finds_its_result(line: Line) -> None:
    with closing(ModbusPlc(line.port)) as plc:
        plc.begin()
        plc.ask(1, "a")
        line.judge("PASS")
        plc.answered(1)
        die(line, FAULT())
    with closing(at_last(line, OTHER)) as other:
        refused = other.client.write_register(Hold.REQUEST, 0, device_id=1)
        assert refused.isError() and refused.exception_code == ExcCodes.DEVICE_BUSY
    with closing(at_last(line)) as plc:
        assert plc.answered(1)[In.VERDICT] == m.VERDICTS["PASS"]
        plc.ask(2, "b")  # in step, as it was
        line.judge("REJECT")
        assert plc.answered(2)[In.VERDICT] == m.VERDICTS["REJECT"]


def test_who_takes_over_after_a_fault_of_ours_reads_no_pass_that_another_asked_for(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(ModbusPlc(line.port)) as plc:
        plc.begin()
        plc.ask(1, "a")
        line.judge("PASS")
        die(line, FAULT())
    monkeypatch.setattr(modbus_server, "_WRITER_S", -1.0)  # the writer has been silent for long enough
    with closing(at_last(line, OTHER)) as other:
        other.ask(1, "b")
        seen = other.inputs()
        assert (seen[In.ASK], seen[In.STATUS], seen[In.REASON]) == (1, Status.REFUSED, Reason.OUT_OF_STEP)
        assert not seen[In.STATE] & Bit.PASS
        assert [other.inputs(m.RING + m.SLOT_WORDS, 3)[n] for n in (0, 2)] == [1, m.REJECT]


def test_a_writer_that_is_back_and_leaves_again_holds_nobody_up(line: Line) -> None:
    with closing(ModbusPlc(line.port)) as plc:
        plc.begin()
        die(line, FAULT())
    with closing(at_last(line)) as plc:
        plc.begin()
    with closing(at_last(line, OTHER)) as other:
        until(lambda: not other.client.write_register(Hold.REQUEST, 0, device_id=1).isError())


def test_a_controller_whose_heart_stops_while_there_is_no_server_is_lost_all_the_same(line: Line) -> None:
    with closing(ModbusPlc(line.port)) as plc:
        plc.begin()
        plc.write(Hold.HEARTBEAT, 1)
        plc.ask(1, "a")
        line.judge("PASS")
        plc.answered(1)
        hands = line.adapters[-1]._handshake
        die(line, FAULT(), lambda: setattr(hands, "_heard_s", float("-inf")))
    with closing(at_last(line)) as plc:
        seen = plc.until(lambda seen: bool(seen[In.STATE] & Bit.LOST))
        assert (seen[In.ASK], seen[In.STATE] & Bit.PASS) == (0, 0)
    assert line.desk.why_away == "the controller's heartbeat stopped"


def test_a_server_that_is_cancelled_is_made_anew_too(line: Line) -> None:
    die(line, SystemExit("an exit of ours"))
    with closing(at_last(line)) as plc:
        plc.begin()
        plc.ask(1)
        line.judge("PASS")
        assert plc.answered(1)[In.VERDICT] == m.VERDICTS["PASS"]
