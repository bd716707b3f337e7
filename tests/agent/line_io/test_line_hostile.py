"""A controller that keeps to nothing: it hands over in the middle, asks twice for a part, toggles without waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from agent.line_io import modbus_map as m
from agent.line_io.desk import Desk, DeskRules
from agent.line_io.modbus_map import Bit, Coil, Hold, In, Reason, Status
from agent.line_io.mqtt import MqttLine
from agent.ports.line import Answer
from agent.ports.recorder import Result
from tests.agent.line_io.line_rig import TOPIC, MqttController, books_close
from tests.agent.line_io.line_rig import Line as MqttRig
from tests.fakes.agent_clock import HandClock
from tests.fakes.modbus_line import Line
from tests.fakes.modbus_plc import ModbusPlc
from tests.fixtures_broker import Broker


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()
    assert made.log.faults == []
    assert books_close(made.desk)


def test_a_plc_that_takes_over_never_reads_the_pass_that_another_asked_for(line: Line) -> None:
    with closing(ModbusPlc(line.port)) as first, closing(ModbusPlc(line.port, source="127.0.0.2")) as second:
        first.begin()
        first.ask(5, "of the first")
        line.judge("PASS")
        first.answered(5)
        first.ask(6, "open")
        first.close()
        assert second.inputs()[In.STATE] & Bit.BUSY, "who only reads takes nothing over"
        second.ask(5, "of the second")  # it counts alike, and did not say that it begins
        seen = second.answered(5)
        assert (seen[In.STATUS], seen[In.REASON]) == (Status.REFUSED, Reason.OUT_OF_STEP)
        assert not seen[In.STATE] & Bit.PASS
        assert line.desk.counts().lost == {"gone": 1}, "what the first left open"
        second.ask(6, "of the second")
        line.judge("REJECT")
        seen = second.answered(6)
        assert (seen[In.VERDICT], m.text(seen[In.PART : In.LABEL])) == (m.REJECT, "of the second")


def test_a_plc_that_takes_over_has_neither_the_part_nor_the_patience_of_the_other(line: Line) -> None:
    with closing(ModbusPlc(line.port)) as first, closing(ModbusPlc(line.port, source="127.0.0.2")) as second:
        first.begin()
        first.write(Hold.REQUEST, 5, 40_000, 0, 0, *m.words("of the first", m.PART_WORDS))
        line.judge("PASS")
        first.answered(5)
        first.close()
        second.inputs()
        second.coil(Coil.REQUEST, on=False)
        assert line.adapters[-1]._handshake.holding() == [0] * m.HOLDINGS
        second.coil(Coil.REQUEST, on=True)
        line.judge("PASS")
        seen = second.until(lambda seen: bool(seen[In.STATE] & Bit.RESULT_READY))
        assert (seen[In.VERDICT], m.text(seen[In.PART : In.LABEL])) == (m.VERDICTS["PASS"], "")


@pytest.mark.slow
def test_a_plc_that_takes_over_from_one_whose_heart_stopped_needs_no_heartbeat_of_its_own(line: Line) -> None:
    with closing(ModbusPlc(line.port)) as first, closing(ModbusPlc(line.port, source="127.0.0.2")) as second:
        first.begin()
        first.write(Hold.HEARTBEAT, 1)
        second.until(lambda seen: bool(seen[In.STATE] & Bit.LOST), 60.0)
        first.close()
        second.begin()
        second.ask(1, "p")
        line.judge("PASS")
        assert second.answered(1)[In.VERDICT] == m.VERDICTS["PASS"] and line.desk.why_away == ""


def test_a_coil_that_is_toggled_without_waiting_never_shows_a_pass_of_another_part(line: Line) -> None:
    with closing(ModbusPlc(line.port)) as plc:
        plc.begin()
        for n in range(60):
            plc.write(Hold.PART_TEXT, *m.words(f"part-{n}", m.PART_WORDS))
            plc.coil(Coil.REQUEST, on=True)
            taken = line.desk.take(1e12, in_order=True)
            assert taken is not None
            if n % 3:
                plc.coil(Coil.REQUEST, on=False)
            line.answer(taken, "PASS")
            if not n % 3:
                seen = plc.inputs()
                assert (seen[In.VERDICT], m.text(seen[In.PART : In.LABEL])) == (1, f"part-{n}")
                plc.coil(Coil.REQUEST, on=False)
            assert not plc.bits() & Bit.PASS
        counts = line.desk.counts()
        assert (counts.triggers, counts.answered, counts.lost, counts.late) == (60, 20, {"gone": 40}, 40)


def test_one_part_asked_for_twice_has_a_verdict_for_each_asking_and_one_ask_only_one(broker: Broker) -> None:
    def opened(desk: Desk, log: object) -> MqttLine:
        return MqttLine(desk, log, topic=TOPIC, client_id="s", host="127.0.0.1", port=broker.port)  # type: ignore[arg-type]

    verdicts: Iterator[str | None] = iter(["PASS", "REJECT"])
    rig = MqttRig(opened, verdict_of=lambda _part: next(verdicts)).start()
    controller = MqttController(broker.port)
    try:
        controller.state(lambda said: bool(said["ready"]))
        controller.trigger(1, "A-17")
        first = controller.next("verdict")
        controller.trigger(2, "A-17")
        second = controller.next("verdict")
        found = [(each["ask"], each["part"], each["verdict"]) for each in (first, second)]
        assert found == [(1, "A-17", "PASS"), (2, "A-17", "REJECT")]
    finally:
        controller.close()
        rig.stop()
    assert books_close(rig.desk)


def test_a_wall_clock_that_jumps_loses_no_part_and_keeps_none_for_ever() -> None:
    clock, said = HandClock(), list[Answer]()
    desk = Desk(DeskRules(timeout_s=1.0), clock)
    desk.show = said.append
    for jump_s in (-86_400.0 * 365, 86_400.0 * 3650):
        desk.trigger(1, "p")
        taken = desk.take(clock.monotonic())
        assert taken is not None
        clock.wall += jump_s
        assert desk.expire() is not None and said == []
        desk.came_out(Result(1, clock.now(), "p", "PASS", "", "ok", 0.9, 5.0, "d", asked=taken[0]), recorded=True)
        desk.trigger(2, "never seen")
        clock.forward(1.1)
        desk.expire()
        assert [(each.verdict, each.latency_ms < 2000) for each in said] == [("PASS", True), ("REJECT", True)]
        said.clear()
