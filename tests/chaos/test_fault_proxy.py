"""The framer finds the same packets however the bytes are cut; the proxy does what it is told, and ends cleanly."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.fault_proxy import FaultProxy
from tests.chaos.faults import Do, Fault
from tests.chaos.mqtt_framer import LARGEST_REMAINING, Framer, Kind, connect, publish, read_varint, varint
from tests.chaos.waiting import wait_for

topics = st.text(max_size=20)
packets = st.one_of(
    st.builds(publish, topics, st.binary(max_size=300), qos=st.integers(0, 2), packet_id=st.integers(1, 65535)),
    st.builds(lambda k, b: bytes([k << 4]) + varint(len(b)) + b, st.integers(1, 15), st.binary(max_size=200)),
)


@given(st.lists(packets, max_size=8), st.data())
def test_packets_come_out_whole_and_in_order_however_the_stream_is_split(
    sent: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    framer, found = Framer(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += [packet.raw for packet in framer.feed(stream[start:end])]
    assert found == sent and framer.held == b""


@given(st.binary(max_size=400))
def test_whatever_comes_is_packets_or_held_and_never_lost(data: bytes) -> None:
    framer = Framer()
    assert b"".join(packet.raw for packet in framer.feed(data)) + framer.held == data


@given(topics, st.binary(max_size=300), st.integers(0, 2), st.integers(1, 65535))
def test_a_publish_tells_its_topic_id_and_payload(topic: str, payload: bytes, qos: int, packet_id: int) -> None:
    (packet,) = Framer().feed(publish(topic, payload, qos=qos, packet_id=packet_id))
    assert (packet.kind, packet.topic, packet.qos, packet.payload) == (Kind.PUBLISH, topic, qos, payload)
    assert packet.packet_id == (packet_id if qos else 0) and not packet.dup


@given(st.integers(0, LARGEST_REMAINING))
def test_a_length_is_read_back(value: int) -> None:
    assert read_varint(varint(value), 0) == (value, len(varint(value)))
    assert read_varint(varint(value)[:-1], 0) is None


@pytest.mark.parametrize("data", [b"\x00\x00", b"\x30\xff\xff\xff\xff\x01"])
def test_what_no_packet_begins_with_is_held_with_all_that_follows(data: bytes) -> None:
    framer = Framer()
    assert [packet.kind for packet in framer.feed(b"\xc0\x00" + data)] == [Kind.PINGREQ] and not framer.is_mqtt
    assert framer.feed(b"\xc0\x00") == [] and framer.held == data + b"\xc0\x00"


class Echo(socketserver.ThreadingTCPServer):
    """Sends back what it gets; keeps all it got, a bytearray a connection, with whether that was closed."""

    daemon_threads = True

    def __init__(self) -> None:
        self.got: list[bytearray] = []
        self.over: list[str] = []
        super().__init__(("127.0.0.1", 0), _EchoHandler)


class _EchoHandler(socketserver.BaseRequestHandler):
    server: Echo

    def handle(self) -> None:
        mine = bytearray()
        self.server.got.append(mine)
        try:
            while data := self.request.recv(65536):
                mine += data
                self.request.sendall(data)
            self.server.over.append("closed")
        except OSError:
            self.server.over.append("reset")


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(30)


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy(echo.server_address[1]) as made:
        yield made


@pytest.fixture
def comer(proxy: FaultProxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), 30) as made:
        yield made


def read(comer: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size and (data := comer.recv(size - len(got))):
        got += data
    return got


def test_without_rules_everything_passes_and_is_counted(proxy: FaultProxy, comer: socket.socket) -> None:
    stream = connect("me") + publish("a", b"x" * 100_000, qos=1)
    comer.sendall(stream)
    assert read(comer, len(stream)) == stream
    assert proxy.up.passed == {Kind.CONNECT: 1, Kind.PUBLISH: 1} == proxy.down.passed
    assert proxy.up.octets == len(stream) and proxy.accepted == 1


def test_bytes_that_are_no_mqtt_pass_as_they_are(comer: socket.socket) -> None:
    stream = connect("me") + b"\x00not mqtt at all"
    comer.sendall(stream)
    assert read(comer, len(stream)) == stream


@pytest.mark.parametrize(
    ("fault", "arrives"),
    [
        (Fault(Kind.PUBLISH, Do.DROP, first=2), b"134"),
        (Fault(Kind.PUBLISH, Do.DROP, first=2, times=2), b"14"),
        (Fault(Kind.PUBLISH, Do.DOUBLE, first=4), b"12344"),
        (Fault(Kind.PUBLISH, Do.SWAP, first=2, times=2), b"1324"),
        (Fault(Kind.PUBACK, Do.DROP), b"1234"),
        (Fault(Kind.PUBLISH, Do.DROP, topic_ends="/3"), b"124"),
    ],
)
def test_a_fault_is_done_to_the_packets_it_is_about(
    proxy: FaultProxy, comer: socket.socket, fault: Fault, arrives: bytes
) -> None:
    proxy.up.add(fault)
    for each in b"1234":
        comer.sendall(publish(f"t/{each - 48}", bytes([each])))
    comer.sendall(publish("end", b"."))
    framer, found = Framer(), b""
    while not found.endswith(b"."):
        found += b"".join(packet.payload for packet in framer.feed(comer.recv(65536)))
    assert found == arrives + b"."


@pytest.mark.parametrize("at_byte", [0, 1, 5])
def test_a_cut_hands_on_the_first_bytes_and_breaks_both_sides(
    echo: Echo, proxy: FaultProxy, comer: socket.socket, at_byte: int
) -> None:
    first, second = publish("a", b"1"), publish("a", b"2")
    fault = proxy.up.add(Fault(Kind.PUBLISH, Do.CUT, first=2, at_byte=at_byte))
    comer.sendall(first + second)
    while comer.recv(100):
        pass
    wait_for(lambda: len(echo.over) == 1)
    assert echo.got == [first + second[:at_byte]] and fault.done == 1
    wait_for(lambda: proxy.open_connections == 0)


def test_a_reset_is_one_for_both_sides(echo: Echo, proxy: FaultProxy, comer: socket.socket) -> None:
    proxy.up.add(Fault(Kind.PINGREQ, Do.RESET))
    comer.sendall(b"\xc0\x00")
    with pytest.raises(ConnectionResetError):
        comer.recv(1)
    wait_for(lambda: echo.over == ["reset"])


def test_half_open_says_nothing_and_closes_nothing_until_it_heals(
    echo: Echo, proxy: FaultProxy, comer: socket.socket
) -> None:
    comer.sendall(b"\xc0\x00")
    assert read(comer, 2) == b"\xc0\x00"
    proxy.half_open()
    comer.sendall(b"\xd0\x00")
    with socket.create_connection(("127.0.0.1", proxy.port), 30) as late:
        late.sendall(b"\xc0\x00")
        for each in (comer, late):
            each.settimeout(0.1)
            with pytest.raises(TimeoutError):
                each.recv(1)
            each.settimeout(30)
        assert echo.got == [b"\xc0\x00"] and echo.over == []
        proxy.heal()
        assert read(comer, 2) == b"\xd0\x00" and read(late, 2) == b"\xc0\x00"


def test_a_comer_that_gives_up_while_nothing_passes_never_reaches_the_server(echo: Echo, proxy: FaultProxy) -> None:
    proxy.half_open()
    with socket.create_connection(("127.0.0.1", proxy.port), 30) as comer:
        comer.sendall(connect("late"))
    wait_for(lambda: proxy.accepted == 1 and proxy.open_connections == 0)
    proxy.heal()
    assert echo.got == []


def test_a_partition_one_way_keeps_what_comes_for_later(echo: Echo, proxy: FaultProxy, comer: socket.socket) -> None:
    comer.sendall(b"\xc0\x00")
    assert read(comer, 2)
    proxy.down.hold()
    comer.sendall(b"\xd0\x00")
    wait_for(lambda: echo.got == [b"\xc0\x00\xd0\x00"])
    proxy.down.flow()
    assert read(comer, 2) == b"\xd0\x00"


def test_a_throttle_and_a_delay_take_their_time_and_can_be_lifted(proxy: FaultProxy, comer: socket.socket) -> None:
    proxy.up.throttle(50.0)
    began = time.monotonic()
    comer.sendall(publish("a", b"12345"))
    read(comer, 11)
    assert time.monotonic() - began >= 0.18
    proxy.up.flow()
    proxy.down.delay(0.3)
    began = time.monotonic()
    comer.sendall(publish("a", b"x" * 5000))
    read(comer, 5000)
    assert time.monotonic() - began >= 0.3


def test_breaking_all_ends_every_connection(echo: Echo, proxy: FaultProxy, comer: socket.socket) -> None:
    comer.sendall(b"\xc0\x00")
    assert read(comer, 2)
    proxy.break_all()
    with pytest.raises(ConnectionResetError):
        comer.recv(1)
    wait_for(lambda: echo.over == ["reset"])


def test_a_server_that_is_not_there_closes_the_comer(echo: Echo) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with (
            FaultProxy(nobody.getsockname()[1]) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port), 30) as me,
        ):
            assert me.recv(1) == b""
