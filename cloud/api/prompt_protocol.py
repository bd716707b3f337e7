"""Connections that are given up when their clients neither speak nor listen: who dials and waits must not use up the server's
sockets, nor its memory."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# A request's head is one packet or two; a body comes at 1 KiB/s at least, which the slowest cellular line does.
LOOK_EVERY_S = 20.0
_LEAST_BYTES_PER_S = 1024.0
# What lies in a socket's own buffer (4 MiB at most, as Linux has it) takes the slowest line some minutes, in which none of the rest
# goes out.
MOST_STILL = 15


class PromptProtocol(H11Protocol):
    """Ends a connection on which no request began between two looks, whose request's body hardly comes, or whose client took
    nothing of its answer for `MOST_STILL` looks.

    The first look comes `LOOK_EVERY_S` after the connection was made; uvicorn itself ends those that are idle between requests.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._cycle_before: Any = None
        self._came = self._unsent = self._still = 0
        self._look_after = self.loop.call_later(LOOK_EVERY_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._look_after.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._came += len(data)
        super().data_received(data)

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._look_after.cancel()  # from here on its pings say whether it is there
        super().handle_websocket_upgrade(event)

    def _look(self) -> None:
        cycle, came, before = self.cycle, self._came, self._cycle_before
        self._cycle_before, self._came = cycle, 0
        unsent = self.transport.get_write_buffer_size()
        self._still = self._still + 1 if 0 < unsent == self._unsent else 0
        self._unsent = unsent
        waiting = cycle is None or cycle.response_complete
        if unsent:
            late = self._still >= MOST_STILL
        elif waiting:
            late = cycle is before
        else:
            # Where the application takes no more of the body yet, the client is not to blame.
            slow = came < _LEAST_BYTES_PER_S * LOOK_EVERY_S and not self.flow.read_paused
            late = cycle is before and cycle.more_body and slow
        if late:
            self.transport.abort()
            return
        self._look_after = self.loop.call_later(LOOK_EVERY_S, self._look)
