"""One MQTT 5 connection on an asyncio transport: packets in and out, pings, and a guess when the other side is dead."""

from __future__ import annotations

import asyncio
from typing import Protocol

from contract.errors import BadMessage
from scripts.fleet.mqtt_codec import PINGREQ, Connack, Disconnect, Packet, Pingresp, Reader


class Owner(Protocol):
    """Who has the connection. Everything is called in the loop's thread."""

    def opened(self, connection: Connection, answer: Connack) -> None:
        """Take the broker's answer to CONNECT."""

    def received(self, packet: Packet) -> None:
        """Take any other packet."""

    def writable(self) -> None:
        """Go on sending: what was written before has left."""

    def lost(self, connection: Connection) -> None:
        """Take that the connection is gone, or never was."""


class Connection(asyncio.Protocol):
    """Sends `hello` (a CONNECT) first. It aborts itself when the broker is silent for one and a half keep-alives."""

    def __init__(self, owner: Owner, hello: bytes, keep_alive_s: float) -> None:
        self._owner, self._hello, self._keep_alive_s = owner, hello, keep_alive_s
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_s = 0.0
        self._loop = asyncio.get_running_loop()
        self.paused = False

    def send(self, data: bytes) -> None:
        """Write `data`; what is written to a lost connection goes nowhere, as on any network."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """Cut the connection without a goodbye."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close once everything written has left."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the broker."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._heard_s = self._loop.time()
        transport.write(self._hello)
        self._timer = self._loop.call_later(self._keep_alive_s / 2, self._tick)

    def data_received(self, data: bytes) -> None:
        """Hand the packets on."""
        self._heard_s = self._loop.time()
        try:
            for packet in self._reader.feed(data):
                if isinstance(packet, Connack):
                    self._owner.opened(self, packet)
                elif isinstance(packet, Disconnect):
                    self.abort()
                elif not isinstance(packet, Pingresp):
                    self._owner.received(packet)
        except BadMessage:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner, once."""
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        self._owner.lost(self)

    def pause_writing(self) -> None:
        """Note that the network is slower than we are."""
        self.paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self.paused = False
        self._owner.writable()

    def _tick(self) -> None:
        if self._loop.time() - self._heard_s > 1.5 * self._keep_alive_s:
            self.abort()
            return
        self.send(PINGREQ)
        self._timer = self._loop.call_later(self._keep_alive_s / 2, self._tick)
