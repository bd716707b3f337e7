"""Reading a request within an absolute deadline and a budget of bytes."""

from __future__ import annotations

import io
import socket
from typing import Any

from agent.ports.clock import Clock

MAX_HEAD_BYTES = 32 << 10


class HeadTooLarge(Exception):
    """More came before the end of the headers than any of our requests needs."""


class RequestReader(io.RawIOBase):
    """Reads a socket until an absolute deadline, and at most `budget` bytes."""

    def __init__(self, connection: socket.socket, clock: Clock, within_s: float) -> None:
        self._connection, self._clock = connection, clock
        self.until_s = clock.monotonic() + within_s
        self.budget = MAX_HEAD_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self.until_s - self._clock.monotonic()
        if left_s <= 0:
            raise TimeoutError("the request did not come in time")
        if self.budget <= 0:
            raise HeadTooLarge
        # A timeout on each read alone would let a client drip one byte at a time for ever.
        self._connection.settimeout(left_s)
        got = self._connection.recv_into(buffer)
        self.budget -= got
        return got
