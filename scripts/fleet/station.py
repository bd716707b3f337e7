"""A simulated station: it behaves on the wire as the contract asks (DESIGN 5), and has no frames, no model and no disk.

A summary is kept, as its number and its times, until `dn/ack` names it; PUBACK only makes room for another packet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Container, Iterator
from random import Random

from contract.codec import decode_control, encode_control
from contract.errors import BadMessage
from contract.messages import Ack, Header, StationState
from contract.topics import Channel, topic
from scripts.fleet.clocks import Clocks
from scripts.fleet.connection import Connection
from scripts.fleet.kept import Kept
from scripts.fleet.mqtt_codec import (
    DISCONNECT,
    NO_SUBSCRIBERS,
    Connack,
    Packet,
    Puback,
    Publish,
    Will,
    encode_connect,
    encode_puback,
    encode_publish,
    encode_subscribe,
)
from scripts.fleet.payloads import Template
from scripts.fleet.reconnect import Reconnect
from scripts.fleet.tally import Tally

# At most so many messages wait for their PUBACK, however many the broker would take (DESIGN 5).
_MOST_IN_FLIGHT = 20
_FIRST_CREDIT = 20
# A backlog never takes all the room, so that a new summary need not wait for it.
_LEFT_FOR_LIVE = 2
_UNHEARD_AGAIN_S = (0.5, 2.0)
_KEEP_ALIVE_S, _SESSION_EXPIRY_S, _WILL_DELAY_S = 60, 3600, 30
_BUNDLE = "b" * 64


class Station:
    """Lives in one event loop. `dial` opens a connection for it; the station asks for one whenever it has none."""

    def __init__(
        self,
        name: str,
        boot: str,
        template: Template,
        tally: Tally,
        clocks: Clocks,
        dial: Callable[[Callable[[], Connection]], Reconnect],
        random: Random,
    ) -> None:
        self.name, self.boot = name, boot
        self._template, self._tally, self._clocks, self._random = template, tally, clocks, random
        self._loop = asyncio.get_running_loop()
        self._topic = topic(name, Channel.SUMMARY)
        self._next_seq = 1
        self._kept: dict[int, Kept] = {}
        self._unsent: deque[int] = deque()
        # Packet id -> sequence, 0 for a birth; what the broker has no PUBACK for yet.
        self._in_flight: dict[int, int] = {}
        self._outstanding: set[int] = set()
        self._last_packet_id = 1
        self._credit = _FIRST_CREDIT
        self._room = _MOST_IN_FLIGHT
        self._connection: Connection | None = None
        self._resend: asyncio.TimerHandle | None = None
        self._more_is_due = False
        self._closing = False
        self.heard = False
        """Whether its last birth reached a worker, as far as the broker says."""
        self._reconnect = dial(self._make_connection)

    @property
    def produced(self) -> int:
        """How many summaries it has made."""
        return self._next_seq - 1

    @property
    def waiting(self) -> int:
        """How many it keeps."""
        return len(self._kept)

    def kept(self) -> Iterator[Kept]:
        """Give what it keeps."""
        return iter(self._kept.values())

    def start(self) -> None:
        """Connect."""
        self._reconnect.now()

    def produce(self) -> None:
        """Make a summary; it goes at once when the broker is there, before any backlog (DESIGN 5)."""
        kept = Kept(self._next_seq, self._clocks.monotonic(), self._clocks.wall())
        self._next_seq += 1
        self._kept[kept.seq] = kept
        self._tally.produced += 1
        if self._may_send():
            self._send(kept)
        else:
            self._unsent.append(kept.seq)

    def cut(self) -> None:
        """Lose the connection as a network would."""
        if self._connection is not None:
            self._connection.abort()

    def close(self) -> None:
        """Say goodbye and stay away."""
        self._closing = True
        self._reconnect.stop()
        self._stop_resending()
        if self._connection is not None:
            name, packet_id = topic(self.name, Channel.STATE), self._free_packet_id(())
            gone = Publish(name, self._state(online=False), 1, packet_id, retain=True)
            self._connection.send(encode_publish(gone) + DISCONNECT)
            self._connection.close()

    def opened(self, connection: Connection, answer: Connack) -> None:
        """Go on where the session was, and say who is there: subscription, birth, then what waits."""
        if answer.reason or self._closing:
            connection.abort()
            return
        self._connection = connection
        self._reconnect.succeeded()
        self._tally.connect()
        self._room = min(_MOST_IN_FLIGHT, answer.receive_maximum)
        before = self._in_flight if answer.session_present else {}
        self._in_flight = {}
        subscribe = encode_subscribe(self._free_packet_id(before), [(topic(self.name, Channel.ACK), 0)])
        connection.send(subscribe + self._birth(self._free_packet_id(before)))
        now_s = self._clocks.monotonic()
        # Acknowledgements may have been lost with the connection: everything is due again.
        for seq in self._outstanding:
            self._kept[seq].due_s = now_s
        for packet_id, seq in before.items():
            # MQTT 5, 4.4: what has no PUBACK yet goes again under its packet id.
            if seq in self._kept and len(self._in_flight) < self._room:
                self._in_flight[packet_id] = seq
                self._transmit(self._kept[seq], packet_id, dup=True)
        self._pump()
        self._resend_due()

    def received(self, packet: Packet) -> None:
        """Take a PUBACK or an acknowledgement of the cloud's."""
        if isinstance(packet, Puback):
            self._take_puback(packet)
        elif isinstance(packet, Publish):
            if packet.qos and self._connection is not None:
                self._connection.send(encode_puback(packet.packet_id))
            try:
                self._take(decode_control(packet.payload, Ack))
            except BadMessage:
                self._tally.bad_packets += 1

    def writable(self) -> None:
        """Go on sending."""
        self._pump()

    def lost(self, connection: Connection) -> None:
        """Keep everything, and come back."""
        if self._connection is connection:
            self._connection = None
            self._tally.connected -= 1
        self._stop_resending()
        if not self._closing:
            self._reconnect.later()

    def _make_connection(self) -> Connection:
        will = Will(topic(self.name, Channel.STATE), self._state(online=False), _WILL_DELAY_S)
        hello = encode_connect(
            self.name,
            keep_alive_s=_KEEP_ALIVE_S,
            session_expiry_s=_SESSION_EXPIRY_S,
            receive_maximum=_MOST_IN_FLIGHT,
            will=will,
        )
        return Connection(self, hello, _KEEP_ALIVE_S)

    def _take_puback(self, packet: Puback) -> None:
        seq = self._in_flight.pop(packet.packet_id, None)
        # 128 and above is a refusal (quota, no rights): the summary is kept, and due again later.
        self._tally.refused += packet.reason >= 128
        again_s = self._random.uniform(*_UNHEARD_AGAIN_S)
        # A broker that came back before the workers did has just thrown it away, and says so.
        if seq == 0:
            self.heard = packet.reason != NO_SUBSCRIBERS
            if not self.heard:
                self._loop.call_later(again_s, self._birth_again, self._connection)
        elif seq is not None and packet.reason == NO_SUBSCRIBERS and seq in self._outstanding:
            self._tally.unheard += 1
            self._kept[seq].due_s = self._clocks.monotonic() + again_s
            self._more_is_due = True
        self._pump()
        if self._more_is_due:
            self._resend_due()

    def _take(self, ack: Ack) -> None:
        if ack.boot != self.boot:
            self._tally.acked_unknown += 1
            return
        self._credit = ack.credit
        now_s = self._clocks.monotonic()
        for first, last in ack.ranges:
            for seq in range(first, min(last, self._next_seq) + 1):
                kept = self._kept.pop(seq, None)
                self._outstanding.discard(seq)
                if kept is not None:
                    self._tally.deliver(kept.produced_s, kept.sent_s, now_s)
        self._tally.conflicts += sum(last - first + 1 for first, last in ack.conflicts)
        self._tally.renewals += ack.renew_boot
        self._pump()

    def _may_send(self, left_free: int = 0) -> bool:
        connection = self._connection
        if connection is None or connection.paused:
            return False
        # Without credit, one at a time still asks whether there is some.
        room, credit = max(1, self._room - left_free), max(1, self._credit - left_free)
        return len(self._in_flight) < room and len(self._outstanding) < credit

    def _pump(self) -> None:
        """Send what was never sent, oldest first, as far as the broker and the cloud have room."""
        while self._unsent and self._may_send(_LEFT_FOR_LIVE):
            self._send(self._kept[self._unsent.popleft()])

    def _resend_due(self) -> None:
        self._stop_resending()
        self._more_is_due = False
        if self._connection is None or not self._outstanding:
            return
        now_s = self._clocks.monotonic()
        flying = set(self._in_flight.values())
        for seq in sorted(self._outstanding - flying):
            if self._kept[seq].due_s > now_s:
                continue
            if len(self._in_flight) >= max(1, self._room - _LEFT_FOR_LIVE) or self._connection.paused:
                self._more_is_due = True
                break
            self._send(self._kept[seq])
        due_s = min(self._kept[seq].due_s for seq in self._outstanding)
        self._resend = self._loop.call_later(max(due_s - now_s, 1.0), self._resend_due)

    def _stop_resending(self) -> None:
        if self._resend is not None:
            self._resend.cancel()
            self._resend = None

    def _send(self, kept: Kept) -> None:
        packet_id = self._free_packet_id(self._in_flight)
        self._in_flight[packet_id] = kept.seq
        self._transmit(kept, packet_id, dup=False)
        if self._resend is None:
            self._resend = self._loop.call_later(kept.due_s - self._clocks.monotonic(), self._resend_due)

    def _transmit(self, kept: Kept, packet_id: int, *, dup: bool) -> None:
        assert self._connection is not None
        if kept.times == 0:
            self._tally.sent += 1
        else:
            self._tally.resent += 1
        kept.sent(self._clocks.monotonic(), self._random.random())
        self._outstanding.add(kept.seq)
        header = Header(
            self.name, self.boot, kept.seq, kept.ended_at - 60.0, kept.ended_at, kept.produced_s, True, _BUNDLE
        )
        message = Publish(self._topic, self._template.payload(header), 1, packet_id, dup=dup)
        self._connection.send(encode_publish(message))

    def _free_packet_id(self, taken: Container[int]) -> int:
        self._last_packet_id = self._last_packet_id % 65_535 + 1
        while self._last_packet_id in taken or self._last_packet_id in self._in_flight:
            self._last_packet_id = self._last_packet_id % 65_535 + 1
        return self._last_packet_id

    def _birth(self, packet_id: int) -> bytes:
        self._in_flight[packet_id] = 0
        name = topic(self.name, Channel.STATE)
        return encode_publish(Publish(name, self._state(online=True), 1, packet_id, retain=True))

    def _birth_again(self, on: Connection | None) -> None:
        if on is not None and on is self._connection and len(self._in_flight) < self._room:
            on.send(self._birth(self._free_packet_id(())))

    def _state(self, *, online: bool) -> bytes:
        at = max(self._clocks.wall(), 0.0)
        return encode_control(
            StationState(self.name, self.boot, online, at, "simulated", True, next_seq=self._next_seq)
        )
