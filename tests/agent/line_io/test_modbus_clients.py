"""What clients do that no good PLC does: two at once, half requests, wrong units, wild addresses, floods, and silence."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from pymodbus.constants import ExcCodes

from agent.line_io import modbus_map as m
from agent.line_io.modbus_map import Bit, Coil, Hold, In, Reason, Status
from agent.line_io.modbus_server import MAX_CONNECTIONS
from tests.fakes.modbus_line import Line
from tests.fakes.modbus_plc import ModbusPlc


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()
    assert made.log.faults == []


@pytest.fixture
def plc(line: Line) -> Iterator[ModbusPlc]:
    with closing(ModbusPlc(line.port)) as made:
        made.begin()
        yield made


def raw(line: Line) -> socket.socket:
    return socket.create_connection(("127.0.0.1", line.port), 60.0)


def frame(number: int, body: bytes, unit: int = 1) -> bytes:
    """Return one request. Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b."""
    return struct.pack(">HHHB", number, 0, len(body) + 1, unit) + body


def answer(connection: socket.socket) -> tuple[int, int, bytes]:
    """Return (number, function, what follows) of the next answer."""
    number, _, length, _, function = struct.unpack(">HHHBB", connection.recv(8, socket.MSG_WAITALL))
    return number, function, connection.recv(length - 2, socket.MSG_WAITALL)


def test_a_client_that_disconnects_in_the_middle_finds_its_result_when_it_is_back(line: Line, plc: ModbusPlc) -> None:
    plc.ask(1, "a")
    plc.close()
    line.judge("PASS")
    with closing(ModbusPlc(line.port)) as again:
        seen = again.answered(1)
        assert (seen[In.VERDICT], m.text(seen[In.PART : In.LABEL])) == (m.VERDICTS["PASS"], "a")


def test_the_part_may_be_written_before_the_request(line: Line, plc: ModbusPlc) -> None:
    for at, word in enumerate(m.words("in pieces", m.PART_WORDS)):
        plc.write(Hold.PART_TEXT + at, word)
    assert line.desk.counts().triggers == 0
    plc.write(Hold.REQUEST, 1)
    assert m.text(plc.inputs()[In.PART : In.LABEL]) == "in pieces"
    plc.write(Hold.PART_TEXT, *m.words("the next", m.PART_WORDS))
    assert m.text(plc.inputs()[In.PART : In.LABEL]) == "in pieces"  # the one it was asked with


def test_a_part_may_be_a_number_of_32_bits_high_word_first(line: Line, plc: ModbusPlc) -> None:
    plc.write(Hold.REQUEST, 1, 0, 0x0001, 0xE240)
    assert m.text(plc.inputs()[In.PART : In.LABEL]) == "123456"


def test_the_first_character_is_in_the_high_byte(line: Line, plc: ModbusPlc) -> None:
    plc.write(Hold.PART_TEXT, 0x4142, 0x4300)
    plc.write(Hold.REQUEST, 1)
    assert m.text(plc.inputs()[In.PART : In.LABEL]) == "ABC"


def test_a_request_that_is_written_again_and_again_is_one(line: Line, plc: ModbusPlc) -> None:
    for beat in range(20):
        plc.write(Hold.HEARTBEAT, beat, 0, 5)
    assert line.desk.counts().triggers == 1
    line.judge("PASS")
    plc.answered(5)


def test_a_later_part_may_be_asked_for_before_the_first_is_judged(line: Line, plc: ModbusPlc) -> None:
    for n in (1, 2, 3):
        plc.ask(n, f"p{n}")
    for verdict in ("PASS", "REJECT", "PASS"):
        line.judge(verdict)
    for n, verdict in ((1, 1), (2, 2), (3, 1)):
        seen = plc.inputs(m.RING + m.SLOT_WORDS * (n % m.SLOTS), m.SLOT_WORDS)
        assert seen[:3] == [n, Status.VERDICT, verdict]
        plc.write(Hold.ACK, n)
        assert plc.inputs(m.RING + m.SLOT_WORDS * (n % m.SLOTS), m.SLOT_WORDS) == [0] * m.SLOT_WORDS
    assert line.desk.counts().unshown == 0


def test_an_old_answer_is_never_shown_under_a_number_that_came_again(line: Line, plc: ModbusPlc) -> None:
    plc.ask(1, "old")
    old = line.desk.take(time.monotonic())
    plc.begin()
    plc.ask(1, "new")
    line.answer(old, "PASS")
    seen = plc.inputs()
    assert (seen[In.ASK], seen[In.STATUS], m.text(seen[In.PART : In.LABEL])) == (1, Status.BUSY, "new")
    line.judge("REJECT")
    assert plc.answered(1)[In.VERDICT] == m.VERDICTS["REJECT"]
    assert line.desk.counts().lost == {"gone": 1}


def test_a_verdict_that_nobody_looks_at_counts_as_unshown(line: Line, plc: ModbusPlc) -> None:
    plc.ask(1)
    line.judge("PASS")
    plc.begin()
    assert line.desk.counts().unshown == 1


def test_dropping_the_request_coil_gives_the_part_up(line: Line, plc: ModbusPlc) -> None:
    plc.coil(Coil.REQUEST, on=True)
    plc.coil(Coil.REQUEST, on=False)
    assert line.desk.counts().lost == {"gone": 1}
    plc.coil(Coil.REQUEST, on=True)
    line.judge("PASS")
    assert plc.bits() & Bit.PASS
    plc.coil(Coil.ACK, on=True)
    assert plc.bits() & (Bit.PASS | Bit.REJECT | Bit.RESULT_READY) == Bit.REJECT


def test_others_read_and_one_writes(line: Line, plc: ModbusPlc) -> None:
    plc.ask(1)
    with closing(ModbusPlc(line.port, source="127.0.0.2")) as other:
        assert other.inputs()[In.ASK] == 1
        refused = other.client.write_register(Hold.REQUEST, 9, device_id=1)
        assert refused.isError() and refused.exception_code == ExcCodes.DEVICE_BUSY
        assert other.inputs()[In.LAST_REQUEST] == 1
        plc.close()
        deadline = time.monotonic() + 60.0
        while other.client.write_register(Hold.REQUEST, 0, device_id=1).isError():
            assert time.monotonic() < deadline
        other.ask(9)
        assert other.inputs()[In.ASK] == 9


@pytest.mark.parametrize(("unit", "fits"), [(1, True), (0, True), (255, True), (2, False), (247, False)])
def test_unit_identifiers(line: Line, unit: int, *, fits: bool) -> None:
    with closing(ModbusPlc(line.port)) as plc:
        found = plc.client.read_input_registers(0, count=1, device_id=unit)
        assert found.isError() is not fits
        assert fits or found.exception_code == ExcCodes.GATEWAY_NO_RESPONSE


def test_addresses_that_are_not_there(line: Line, plc: ModbusPlc) -> None:
    client = plc.client
    for found in (
        client.read_input_registers(m.INPUTS - 1, count=2, device_id=1),
        client.read_holding_registers(500, count=1, device_id=1),
        client.read_holding_registers(m.MIRROR + m.INPUTS, count=1, device_id=1),
        client.read_holding_registers(65535, count=1, device_id=1),
        client.read_discrete_inputs(10, count=20, device_id=1),
        client.read_coils(16, count=1, device_id=1),
        client.write_registers(m.HOLDINGS - 1, [1, 2], device_id=1),
        client.write_register(m.MIRROR + In.VERDICT, 1, device_id=1),
        client.write_coils(2, [True, True], device_id=1),
    ):
        assert found.isError() and found.exception_code == ExcCodes.ILLEGAL_ADDRESS, found
    assert line.desk.counts().triggers == 0


def test_functions_that_are_not_for_a_plc_and_counts_beyond_the_protocol(line: Line) -> None:
    with raw(line) as connection:
        for body, code in (
            (struct.pack(">BHH", 4, 0, 126), ExcCodes.ILLEGAL_VALUE),
            (struct.pack(">BHH", 4, 0, 0), ExcCodes.ILLEGAL_VALUE),
            (struct.pack(">BHH", 1, 0, 2001), ExcCodes.ILLEGAL_VALUE),
            (struct.pack(">BHH", 8, 4, 0), ExcCodes.ILLEGAL_FUNCTION),
            (struct.pack(">B", 43), ExcCodes.ILLEGAL_FUNCTION),
            (struct.pack(">BHHB", 16, 0, 3, 6) + b"\0\0", ExcCodes.ILLEGAL_VALUE),
            (struct.pack(">BH", 5, 0), ExcCodes.ILLEGAL_VALUE),
        ):
            connection.sendall(frame(1, body))
            assert answer(connection) == (1, body[0] | 0x80, bytes([code])), body
        connection.sendall(frame(2, struct.pack(">BHH", 4, 0, 125)))
        assert len(answer(connection)[2]) == 251


def test_the_input_registers_are_readable_as_holding_registers(line: Line, plc: ModbusPlc) -> None:
    plc.ask(1, "x")
    line.judge("PASS")
    plc.answered(1)
    found = plc.client.read_holding_registers(m.MIRROR + In.ASK, count=8, device_id=1)
    assert list(found.registers) == plc.inputs(In.ASK, 8)


def test_read_and_write_in_one_and_masked_writes(line: Line, plc: ModbusPlc) -> None:
    found = plc.client.readwrite_registers(
        read_address=m.MIRROR, read_count=48, write_address=Hold.REQUEST, values=[3], device_id=1
    )
    assert found.registers[In.ASK] == 3
    plc.client.mask_write_register(address=Hold.REQUEST, and_mask=0, or_mask=4, device_id=1)
    assert plc.inputs()[In.ASK] == 4


def test_requests_that_arrive_together_or_in_pieces_are_all_answered_in_order(line: Line) -> None:
    ask = struct.pack(">BHH", 4, 0, 1)
    with raw(line) as connection:
        for _ in range(2):
            connection.sendall(b"".join(frame(n, ask) for n in range(1, 201)))
            assert [answer(connection)[0] for _ in range(200)] == list(range(1, 201))
        whole = frame(1, ask) + frame(2, ask) + frame(3, ask)
        for at in range(0, len(whole), 5):
            connection.sendall(whole[at : at + 5])
            time.sleep(0.005)
        assert [answer(connection)[0] for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    "junk", [b"GET / HTTP/1.1\r\n\r\n", b"\0\1\0\0\0\1\1", b"\0\1\0\0\xff\xff\1\3", b"\x16\3\1\2\0\1"]
)
def test_what_is_no_modbus_ends_its_connection_and_nothing_else(line: Line, plc: ModbusPlc, junk: bytes) -> None:
    with raw(line) as connection:
        connection.sendall(junk)
        assert connection.recv(100) == b""
    assert plc.inputs()[In.MAP_VERSION] == m.VERSION


def test_of_too_many_connections_the_quietest_gives_way(line: Line, plc: ModbusPlc) -> None:
    with ExitStack() as stack:
        strangers = [stack.enter_context(raw(line)) for _ in range(3 * MAX_CONNECTIONS) if plc.inputs()]
        plc.ask(1)  # it polled all the while, and has its connection still
        assert strangers[0].recv(1) == b""


def test_a_client_that_asks_and_never_reads_is_let_go(line: Line, plc: ModbusPlc) -> None:
    with raw(line) as connection:
        connection.setblocking(False)
        asked, deadline = frame(1, struct.pack(">BHH", 4, 0, 125)), time.monotonic() + 60.0
        with pytest.raises(ConnectionError):
            while time.monotonic() < deadline:
                try:
                    connection.send(asked)
                except BlockingIOError:
                    time.sleep(0.001)
    assert plc.inputs()[In.MAP_VERSION] == m.VERSION


def test_without_beats_of_the_station_a_pass_is_shown_no_more() -> None:
    line = Line(heartbeat_s=1.2)
    with closing(ModbusPlc(line.port)) as plc:
        plc.begin()
        plc.ask(1)
        line.judge("PASS")
        assert plc.answered(1)[In.VERDICT] == m.VERDICTS["PASS"]
        line.loop._heartbeat_s = 60.0  # the station's loop hangs
        seen = plc.until(lambda seen: seen[In.VERDICT] == 0)
        assert seen[In.STATE] & (Bit.PASS | Bit.REJECT | Bit.READY | Bit.FAULT) == Bit.REJECT | Bit.FAULT
    line.close()


def test_an_unrequested_verdict_is_shown_where_nobody_requests(line: Line) -> None:
    line.desk.rules = type(line.desk.rules)(triggers=False)
    with closing(ModbusPlc(line.port)) as plc:
        line.unasked("PASS", "part-1")
        seen = plc.answered(1)
        assert (seen[In.VERDICT], m.text(seen[In.PART : In.LABEL])) == (m.VERDICTS["PASS"], "part-1")
        line.unasked("REJECT", "part-2")
        assert plc.answered(2)[In.VERDICT] == m.VERDICTS["REJECT"]
        assert plc.bits() & (Bit.PASS | Bit.REJECT) == Bit.REJECT


def test_an_unrequested_verdict_never_stands_where_an_answer_is_expected(line: Line, plc: ModbusPlc) -> None:
    plc.ask(1)
    line.unasked("PASS", "stray")
    seen = plc.inputs()
    assert (seen[In.ASK], seen[In.STATUS], seen[In.REASON]) == (1, Status.BUSY, Reason.NONE)
    assert line.desk.counts().unshown == 1


def test_a_refusal_leaves_the_result_whose_place_it_would_take(line: Line, plc: ModbusPlc) -> None:
    for n in (1, 2, 3, 4):
        plc.ask(n)
    plc.ask(1 + m.SLOTS)
    assert plc.inputs()[In.ASK : In.VERDICT + 1] == [1 + m.SLOTS, Status.REFUSED, m.REJECT]
    plc.write(Hold.ACK, 1 + m.SLOTS)
    assert plc.inputs()[In.ASK] == 0
    line.judge("PASS")
    assert plc.inputs(m.RING + m.SLOT_WORDS, 3) == [1, Status.VERDICT, m.VERDICTS["PASS"]]
    plc.ask(2 + m.SLOTS)  # there is room for one now, and its place is that of an open one
    seen = plc.inputs()
    assert (seen[In.ASK], seen[In.STATUS], seen[In.WAITING]) == (2 + m.SLOTS, Status.BUSY, 3)
    assert line.desk.counts().lost == {"gone": 1}
