"""The socket paho is given: everything arrives, in order, in fewer calls."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from cloud.broker.buffered_socket import BufferedSocket


@pytest.fixture
def ends() -> Iterator[tuple[BufferedSocket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.settimeout(60)
    yield BufferedSocket(near), far
    near.close()
    far.close()


def test_what_came_in_one_piece_is_given_out_as_it_is_asked_for(ends: tuple[BufferedSocket, socket.socket]) -> None:
    near, far = ends
    far.sendall(b"abcdefgh")
    assert near.pending() == 0
    assert (near.recv(1), near.recv(1), near.pending()) == (b"a", b"b", 6)
    assert (near.recv(100), near.pending()) == (b"cdefgh", 0)
    with pytest.raises(BlockingIOError):
        near.recv(1)
    far.close()
    assert near.recv(1) == b""


def test_nothing_leaves_before_the_flush_and_what_the_network_does_not_take_stays(
    ends: tuple[BufferedSocket, socket.socket],
) -> None:
    near, far = ends
    piece, sent = b"0123456789" * 10_000, 0
    with pytest.raises(BlockingIOError, match="does not read"):
        while True:
            sent += near.send(piece)
    assert near.unsent() == sent > 1 << 20
    near.flush()
    assert 0 < near.unsent() < sent
    received = b""
    while len(received) < sent:
        received += far.recv(1 << 20)
        near.flush()
    assert received == piece * (sent // len(piece)) and near.unsent() == 0


def test_the_goodbye_is_sent_on_closing_and_not_on_abandoning() -> None:
    for leave, expected in ((BufferedSocket.close, b"bye"), (BufferedSocket.abandon, b"")):
        near, far = socket.socketpair()
        buffered = BufferedSocket(near)
        buffered.send(b"bye")
        leave(buffered)
        buffered.close()
        assert far.recv(10) == expected
        far.close()


def test_a_broker_that_is_gone_is_an_error_and_closing_is_none(ends: tuple[BufferedSocket, socket.socket]) -> None:
    near, far = ends
    far.close()
    near.send(b"x")
    with pytest.raises(OSError):
        near.flush()
    near.close()
