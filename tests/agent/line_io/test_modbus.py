"""A real Modbus client asks, gets one answer, and never a PASS that is not its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from agent.clock import SystemClock
from agent.decide.causes import Cause
from agent.line_io import modbus_map as m
from agent.line_io.desk import Desk, DeskRules
from agent.line_io.modbus import ModbusLine
from agent.line_io.modbus_map import Bit, Coil, Hold, In, Reason, Status
from agent.ports.recorder import Result
from contract.errors import InvalidConfig, TransientError
from tests.fakes.modbus_line import Line, QuietLog
from tests.fakes.modbus_plc import ModbusPlc


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()
    assert made.log.faults == []


@pytest.fixture
def plc(line: Line) -> Iterator[ModbusPlc]:
    made = ModbusPlc(line.port)
    made.begin()
    yield made
    made.close()


def test_a_part_is_asked_for_answered_and_acknowledged(line: Line, plc: ModbusPlc) -> None:
    assert plc.bits() & (Bit.READY | Bit.REJECT | Bit.PASS | Bit.RESULT_READY) == Bit.READY | Bit.REJECT
    plc.ask(7, "PART-ÄB-7")
    seen = plc.inputs()
    assert (seen[In.ASK], seen[In.STATUS], seen[In.VERDICT]) == (7, Status.BUSY, 0)
    assert (seen[In.LAST_REQUEST], seen[In.REQUEST_CODE], seen[In.WAITING]) == (7, m.TAKEN, 1)
    assert plc.bits() & (Bit.BUSY | Bit.PASS | Bit.REJECT) == Bit.BUSY | Bit.REJECT
    line.judge("PASS", label="good", confidence=0.91234)
    seen = plc.answered(7)
    assert (seen[In.VERDICT], seen[In.CONFIDENCE], seen[In.CAUSE]) == (m.VERDICTS["PASS"], 9123, 0)
    assert seen[In.LABEL_CODE] == m.label_code("good") != 0
    assert m.text(seen[In.PART : In.LABEL]) == "PART-ÄB-7"
    assert m.text(seen[In.LABEL : In.LABEL + m.LABEL_WORDS]) == "good"
    assert plc.bits() & (Bit.RESULT_READY | Bit.PASS | Bit.REJECT) == Bit.RESULT_READY | Bit.PASS
    plc.write(Hold.ACK, 7)
    seen = plc.inputs()
    assert (seen[In.ASK], seen[In.STATUS], seen[In.VERDICT]) == (0, 0, 0)
    assert plc.bits() & (Bit.RESULT_READY | Bit.PASS | Bit.REJECT) == Bit.REJECT
    counts = line.desk.counts()
    assert (counts.triggers, counts.answered, counts.unshown) == (1, 1, 0)


@pytest.mark.parametrize(
    ("verdict", "cause", "bit"),
    [("REJECT", "", Bit.REJECT), ("REVIEW", Cause.UNSURE.value, Bit.REVIEW), ("PASS", "", Bit.PASS)],
)
def test_each_verdict_has_its_bit_alone(line: Line, plc: ModbusPlc, verdict: str, cause: str, bit: Bit) -> None:
    plc.ask(1)
    line.judge(verdict, cause)
    seen = plc.answered(1)
    assert (seen[In.VERDICT], seen[In.CAUSE]) == (m.VERDICTS[verdict], m.CAUSES[cause])
    assert plc.bits() & (Bit.PASS | Bit.REJECT | Bit.REVIEW) == bit


def test_a_new_request_takes_the_old_result_away_in_the_same_write(line: Line, plc: ModbusPlc) -> None:
    plc.ask(1)
    line.judge("PASS")
    plc.answered(1)
    plc.ask(2)
    seen = plc.inputs()
    assert (seen[In.ASK], seen[In.STATUS], seen[In.VERDICT]) == (2, Status.BUSY, 0)
    assert plc.bits() & (Bit.PASS | Bit.REJECT | Bit.RESULT_READY) == Bit.REJECT


def test_a_station_without_frames_answers_reject_in_time() -> None:
    line = Line(timeout_s=0.15)
    plc = ModbusPlc(line.port)
    plc.begin()
    plc.ask(3)
    seen = plc.answered(3, within_s=60.0)
    assert (seen[In.STATUS], seen[In.VERDICT], seen[In.REASON]) == (Status.LOST, m.REJECT, Reason.TIMEOUT)
    assert plc.bits() & (Bit.PASS | Bit.REJECT) == Bit.REJECT
    plc.close()
    line.close()
    assert line.desk.counts().lost == {"timeout": 1}


def test_a_part_in_a_hurry_may_ask_for_less_time(line: Line, plc: ModbusPlc) -> None:
    plc.write(Hold.REQUEST, 4, 100)
    seen = plc.answered(4, within_s=60.0)
    assert (seen[In.STATUS], seen[In.REASON]) == (Status.LOST, Reason.TIMEOUT)


def test_refusals_are_said_at_once() -> None:
    line = Line(waiting=1)
    plc = ModbusPlc(line.port)
    plc.begin()
    line.why = "no model is installed"
    plc.ask(1)
    seen = plc.inputs()
    assert (seen[In.ASK], seen[In.STATUS], seen[In.VERDICT]) == (1, Status.REFUSED, m.REJECT)
    assert seen[In.REASON] == seen[In.REQUEST_CODE] == Reason.NOT_READY
    assert plc.bits() & (Bit.RESULT_READY | Bit.PASS | Bit.REJECT) == Bit.RESULT_READY | Bit.REJECT
    plc.until(lambda seen: bool(seen[In.STATE] & Bit.FAULT and not seen[In.STATE] & Bit.READY))
    line.why = ""
    plc.ask(2)
    plc.ask(3)
    seen = plc.inputs()
    assert (seen[In.ASK], seen[In.STATUS], seen[In.REASON]) == (3, Status.REFUSED, Reason.FULL)
    line.judge("PASS")
    assert line.desk.counts().answered == 1
    assert plc.inputs()[In.STATUS] == Status.REFUSED, "the verdict of another request is not in hand"
    plc.close()
    line.close()
    counts = line.desk.counts()
    assert (counts.triggers, counts.answered, counts.refused) == (3, 1, {"not_ready": 1, "full": 1})


def test_a_number_that_comes_again_is_another_part() -> None:
    line = Line(waiting=2, timeout_s=60.0)
    plc = ModbusPlc(line.port)
    plc.begin()
    taken = []
    for number, part in ((1, "A"), (2, "B"), (1, "C")):
        plc.ask(number, part)
        taken.append(line.desk.take(line.clock.monotonic()))
        seen = plc.inputs()
        assert (seen[In.ASK], seen[In.STATUS], seen[In.REQUEST_CODE]) == (number, Status.BUSY, m.TAKEN)
    line.answer(taken[0], "PASS")
    assert plc.inputs()[In.STATUS] == Status.BUSY, "that is the verdict of part A"
    line.answer(taken[2], "REJECT")
    seen = plc.answered(1)
    assert (seen[In.VERDICT], m.text(seen[In.PART : In.PART + m.PART_WORDS])) == (m.REJECT, "C")
    assert line.desk.counts().lost == {"gone": 1}
    plc.close()
    line.close()


def test_coils_and_bits_are_enough_for_a_simple_plc(line: Line, plc: ModbusPlc) -> None:
    plc.coil(Coil.REQUEST, on=False)
    for verdict, bit in (("PASS", Bit.PASS), ("REJECT", Bit.REJECT), ("PASS", Bit.PASS)):
        plc.coil(Coil.REQUEST, on=True)
        assert plc.bits() & (Bit.BUSY | Bit.PASS | Bit.RESULT_READY) == Bit.BUSY
        line.judge(verdict)
        seen = plc.bits()
        assert seen & (Bit.RESULT_READY | Bit.PASS | Bit.REJECT) == Bit.RESULT_READY | bit
        plc.coil(Coil.REQUEST, on=False)
        assert plc.bits() & (Bit.RESULT_READY | Bit.PASS | Bit.REJECT) == Bit.REJECT
    counts = line.desk.counts()
    assert (counts.triggers, counts.answered, counts.unshown) == (3, 3, 0)


@pytest.mark.slow
def test_a_controller_that_goes_silent_has_its_triggers_withdrawn() -> None:
    line = Line(heartbeat_s=1.5)
    plc = ModbusPlc(line.port)
    plc.begin()
    plc.write(Hold.HEARTBEAT, 1)
    plc.ask(1)
    line.judge("PASS")
    plc.ask(2)
    seen = plc.until(lambda seen: bool(seen[In.STATE] & Bit.LOST))
    assert (seen[In.ASK], seen[In.WAITING]) == (0, 0)
    assert seen[In.STATE] & (Bit.PASS | Bit.REJECT | Bit.READY) == Bit.REJECT
    assert line.loop.why_degraded() == "the controller's heartbeat stopped"
    assert line.adapters[-1].trouble() == ""  # which would open it anew
    assert line.desk.counts().lost == {"gone": 1}
    plc.ask(3)
    assert plc.inputs()[In.REASON] == Reason.NO_HEARTBEAT
    plc.write(Hold.HEARTBEAT, 2)
    plc.begin()
    plc.ask(4)
    line.judge("PASS")
    assert plc.answered(4)[In.VERDICT] == m.VERDICTS["PASS"]
    assert line.loop.why_degraded() == ""
    end_s, beat = time.monotonic() + 60.0, 2
    while len(line.log.said) < 2 and time.monotonic() < end_s:
        beat += 1
        plc.write(Hold.HEARTBEAT, beat)
        time.sleep(0.01)
    assert line.log.said[:2] == [
        "the line's controller: the controller's heartbeat stopped",
        "the line's controller: it shows signs of life again",
    ]
    plc.close()
    line.close()
    assert line.log.faults == []


def test_a_request_from_before_the_start_triggers_nothing() -> None:
    line = Line()
    plc = ModbusPlc(line.port)
    plc.ask(41)  # a PLC that goes on as if the station had not been away
    seen = plc.inputs()
    assert (seen[In.ASK], seen[In.STATUS], seen[In.REASON]) == (41, Status.REFUSED, Reason.OUT_OF_STEP)
    plc.ask(42)
    line.judge("PASS")
    assert plc.answered(42)[In.VERDICT] == m.VERDICTS["PASS"]
    plc.close()
    line.close()
    assert line.desk.counts().triggers == 1


def test_a_stopping_station_answers_what_waits(line: Line, plc: ModbusPlc) -> None:
    plc.ask(9)
    line.stop.set()
    seen = plc.answered(9)
    assert (seen[In.STATUS], seen[In.VERDICT], seen[In.REASON]) == (Status.LOST, m.REJECT, Reason.STOPPED)
    line.thread.join(60.0)
    assert not line.thread.is_alive()
    assert line.desk.counts().lost == {"stopped": 1}
    assert line.desk.counts().unshown == 0


def test_several_hundred_parts_and_the_books_close(line: Line, plc: ModbusPlc) -> None:
    stop = threading.Event()

    def judge() -> None:
        n = 0
        while not stop.is_set():
            taken = line.desk.take(line.clock.monotonic())
            if taken is None:
                stop.wait(0.0005)
                continue
            n += 1
            verdict = ("PASS", "REJECT", "REVIEW")[n % 3]
            line.desk.came_out(Result(n, 1.0, taken[1], verdict, "", "x", 0.5, 1.0, "d", asked=taken[0]), recorded=True)

    judging = threading.Thread(target=judge)
    judging.start()
    seen: list[int] = []
    for n in range(1, 401):
        plc.ask(n, f"part-{n}")
        seen = plc.answered(n)
        assert seen[In.VERDICT] == (1, 2, 3)[n % 3]
        assert m.text(seen[In.PART : In.LABEL]) == f"part-{n}"
        plc.write(Hold.ACK, n)
    stop.set()
    judging.join()
    seen = plc.inputs()
    shown = {
        name: seen[at] << 16 | seen[at + 1] for name, at in list(In.__members__.items()) if at in (14, 16, 18, 20, 22)
    }
    assert shown == {"TRIGGERS": 400, "ANSWERED": 400, "LOST": 0, "REFUSED": 0, "UNSHOWN": 0}


def test_what_cannot_be_bound_is_said() -> None:
    desk, log = Desk(DeskRules(), SystemClock()), QuietLog()
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(TransientError, match="in use"):
        ModbusLine(desk, log, SystemClock(), host="127.0.0.1", port=other.getsockname()[1]).start()
    with pytest.raises(InvalidConfig, match=r"Modbus on 203\.0\.113\.7:1502"):
        ModbusLine(desk, log, SystemClock(), host="203.0.113.7", port=1502).start()


def test_a_server_that_dies_comes_back_with_what_it_showed(line: Line, plc: ModbusPlc) -> None:
    plc.ask(1)
    line.judge("PASS")
    handshake = line.adapters[-1]._handshake
    tick, died = handshake.tick, threading.Event()

    def dies() -> None:
        handshake.tick = tick  # type: ignore[method-assign]
        died.set()
        raise MemoryError("for this test")

    handshake.tick = dies  # type: ignore[method-assign]
    assert died.wait(60.0)
    while not line.loop.why_degraded():
        assert line.thread.is_alive()
    with closing(ModbusPlc.at_last(line.port)) as again:
        assert again.answered(1)[In.VERDICT] == m.VERDICTS["PASS"]
    while line.loop.why_degraded():
        assert line.thread.is_alive()
    assert any("for this test" in fault for fault in line.log.faults)
    line.log.faults.clear()


def test_an_adapter_that_is_opened_anew_withdraws_what_the_old_one_asked(line: Line, plc: ModbusPlc) -> None:
    plc.ask(1)
    line.loop._let_go()
    assert line.desk.counts().lost == {"gone": 1}
    with closing(ModbusPlc.at_last(line.port)) as again:
        assert again.inputs()[In.ASK : In.VERDICT + 1] == [0, 0, 0]
        again.begin()
        again.ask(1)
        line.judge("PASS")
        assert again.answered(1)[In.VERDICT] == m.VERDICTS["PASS"]
