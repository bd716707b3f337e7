"""However the stream is cut, PUBLISH packets come whole and in order, and paho gets the rest; what is none ends the connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.broker.publish_socket import Published, PublishSocket, encode_publish


def varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*parts, number))


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + varint(len(body)) + body


def encode(message: Published, properties: bytes, flags: int) -> bytes:
    mid = message.mid.to_bytes(2, "big") if message.qos else b""
    head = len(message.topic).to_bytes(2, "big") + message.topic + mid
    return packet(0x30 | message.qos << 1 | flags, head + varint(len(properties)) + properties + message.payload)


messages = st.builds(
    lambda topic, payload, times, qos, mid: Published(topic, payload * times, qos, mid if qos else 0),
    st.binary(max_size=200),
    st.binary(max_size=40),
    st.sampled_from((1, 1, 10, 500)),
    st.sampled_from((0, 1)),
    st.integers(1, 65_535),
)
publishes = st.tuples(messages, st.binary(max_size=150), st.sampled_from((0, 1, 8, 9)))
others = st.builds(packet, st.sampled_from((0x20, 0x40, 0x90, 0xB0, 0xD0, 0xE0)), st.binary(max_size=200))


@contextmanager
def ends() -> Iterator[tuple[PublishSocket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        yield PublishSocket(near), far


def drain(near: PublishSocket) -> bytes:
    """Read as paho does until nothing is left."""
    got = b""
    try:
        while data := near.recv(7):
            got += data
    except BlockingIOError:
        pass
    return got


@given(st.lists(publishes | others, max_size=12), st.lists(st.integers(1, 9_000), max_size=12))
def test_a_stream_cut_anywhere_comes_apart_into_messages_and_what_is_for_paho(
    parts: list[tuple[Published, bytes, int] | bytes], cuts: list[int]
) -> None:
    stream = b"".join(part if isinstance(part, bytes) else encode(*part) for part in parts)
    rest, found, at = b"", [], 0
    with ends() as (near, far):
        for size in (*cuts, len(stream)):
            for start in range(at, min(at + size, len(stream)), 50_000):
                far.sendall(stream[start : min(start + 50_000, at + size)])
                rest += drain(near)
                found += near.published()
            at = min(at + size, len(stream))
        far.close()
        assert near.recv(1) == b""
    assert rest == b"".join(part for part in parts if isinstance(part, bytes))
    assert found == [part[0] for part in parts if not isinstance(part, bytes)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\x00\x05ab",
        b"\x00\x01a\x00",
        b"\x00\x01a\x00\x01",
        b"\x00\x01a\x00\x01\x05x",
        b"\x00\x01a\x00\x01\x80",
        b"\x00\x01a\x00\x01\x80\x80\x80\x80\x01x",
    ],
)
def test_a_publish_that_cannot_be_read_ends_the_connection(body: bytes) -> None:
    with ends() as (near, far):
        far.sendall(packet(0x32, body) + packet(0x32, b"\x00\x01a\x00\x01\x00x"))
        with pytest.raises(ConnectionError):
            near.recv(1)


def test_a_message_of_qos_2_which_nobody_asked_for_ends_the_connection() -> None:
    with ends() as (near, far):
        far.sendall(packet(0x34, b"\x00\x01a\x00\x01\x00x"))
        with pytest.raises(ConnectionError):
            near.recv(1)


def test_a_length_that_never_ends_is_left_to_paho() -> None:
    with ends() as (near, far):
        far.sendall(b"\x30\xff\xff\xff\xff\xff")
        assert drain(near) == b"\x30\xff\xff\xff\xff\xff"


def test_acknowledgements_leave_together_and_not_where_the_broker_does_not_read() -> None:
    with ends() as (near, far):
        near.acknowledge([1, 65_535])
        near.flush()
        assert far.recv(100) == b"\x40\x02\x00\x01\x40\x02\xff\xff"
        near.send(bytes(2 << 20))
        assert near.is_full()
        with pytest.raises(BlockingIOError):
            near.acknowledge([1])


@given(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
    st.binary(max_size=300),
    st.sampled_from((1, 100)),
    st.booleans(),
)
def test_what_is_encoded_here_is_read_here(topic: str, payload: bytes, times: int, retain: bool) -> None:
    sent = encode_publish(topic, payload * times, retain)
    assert sent[0] == 0x30 | retain
    with ends() as (near, far):
        far.sendall(sent)
        assert drain(near) == b""
        assert near.published() == [Published(topic.encode(), payload * times, 0, 0)]
