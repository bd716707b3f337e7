"""The agent's only file that knows paho: one MQTT 5 connection, driven by the uplink thread (DESIGN 5).

A fresh client for each connection: paho resends what it holds without regard to the receive maximum, and holds it in memory;
what must not be lost is in the outbox. Nothing is handed to paho while the connection is down.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.ports.clock import Clock
from agent.ports.link import ANY_SIZE, Incoming, Room, Trouble
from agent.uplink.unheard import Said, Unheard
from contract.codec import encode_control
from contract.errors import BadMessage, LinkDown
from contract.messages import StationState
from contract.topics import Channel, parse_topic, topic

MAX_IN_FLIGHT = 20
_SESSION_EXPIRY_S = 7 * 24 * 3600
_WILL_DELAY_S = 30
# What the kernel takes ahead of a slow link: new windows would wait behind it.
_SEND_BUFFER_BYTES = 64 << 10
# A PUBLISH beside its topic and payload: fixed header, topic length, packet id, no properties (MQTT 5.0, 3.3).
_PUBLISH_BYTES = 5 + 2 + 2 + 1
# MQTT 5.0, 3.2.2.2: client id not valid, bad user name or password, not authorized, banned, bad authentication method.
_REFUSALS = frozenset({0x85, 0x86, 0x87, 0x8A, 0x8C})
_TAKEN_OVER = 0x8E
# MQTT 5.0, 3.4.2.1: the broker has the message, and there is nobody to give it to.
_NO_SUBSCRIBERS = 0x10
_DOWN = ((Channel.DESIRED, 1), (Channel.COMMAND, 1), (Channel.ACK, 0))


_HINTS = {
    Trouble.TAKEN_OVER: "give each device a name of its own (plumbline-agent status shows this one's)",
    Trouble.REFUSED: "check this station's certificate, key and access at the broker, and the clock",
}


class MqttLink:
    """`agent.ports.link.Link` for one station. `birth(online)` makes the station's state message."""

    def __init__(
        self,
        host: str,
        port: int,
        station: str,
        birth: Callable[[bool], StationState],
        clock: Clock,
        *,
        keepalive_s: int = 15,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls`: speaks TLS with the broker; it carries the trusted authority and the station's certificate."""
        self._host = host
        self._port = port
        self._station = station
        self._birth = birth
        self._clock = clock
        self._keepalive_s = keepalive_s
        self._tls = tls
        self._client: paho.Client | None = None
        self._up = False
        self._refused = ""
        self._subscribed = False
        self._answered = False
        self._trouble = Trouble.NONE
        self._most = MAX_IN_FLIGHT
        self._largest_bytes = ANY_SIZE
        # When each message was sent that the broker has not acknowledged (monotonic).
        self._in_flight: dict[int, float] = {}
        self._unheard = Unheard()
        self._heard_s = 0.0
        self._arrived: list[Incoming] = []

    def connect(self, within_s: float) -> None:
        """Connect, subscribe to this station's `dn/#` channels, and send the birth.

        Raises:
            LinkDown: the broker was not reached, or refused.
        """
        self._drop()
        client = self._client = paho.Client(
            callback_api_version=CallbackAPIVersion.VERSION2, client_id=self._station, protocol=paho.MQTTv5
        )
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_socket_open = _bound_send_buffer
        client.connect_timeout = within_s
        client.max_inflight_messages_set(MAX_IN_FLIGHT)
        client.will_set(
            topic(self._station, Channel.STATE),
            encode_control(self._birth(False)),
            qos=1,
            retain=True,
            properties=_properties(PacketTypes.WILLMESSAGE, WillDelayInterval=_WILL_DELAY_S),
        )
        self._refused, self._subscribed, self._trouble = "", False, Trouble.NONE
        self._answered = False
        try:
            client.connect(
                self._host,
                self._port,
                self._keepalive_s,
                clean_start=False,
                properties=_properties(
                    PacketTypes.CONNECT, SessionExpiryInterval=_SESSION_EXPIRY_S, ReceiveMaximum=MAX_IN_FLIGHT
                ),
            )
        except (OSError, ValueError) as error:
            self._drop()
            if isinstance(error, ssl.SSLError):
                self._trouble = Trouble.REFUSED
            raise self._not_reached(str(error)) from error
        until_s = self._clock.monotonic() + within_s
        while not self._subscribed and not self._refused and self._clock.monotonic() < until_s:
            if client.loop(0.05) is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._refused = self._refused or "the connection broke"
        if not self._subscribed:
            if self._tls is not None and not self._answered and self._refused:
                # In TLS 1.3 a broker refuses a certificate after the handshake: all that paho tells of it is a connection lost.
                self._refused, self._trouble = "it ended the TLS connection without an answer", Trouble.REFUSED
            why = self._refused or f"no answer within {within_s:g} s"
            self._drop()
            raise self._not_reached(why)
        self._up = True
        self.publish(Channel.STATE, encode_control(self._birth(True)), retain=True)

    def connected(self) -> bool:
        """Return whether the connection is up as far as this side knows."""
        return self._up

    def trouble(self) -> Trouble:
        """Return why the last connection ended or was refused."""
        return self._trouble

    def room(self) -> Room:
        """Return what the link takes now: nothing while the kernel has not taken what it was given."""
        full = self._client is None or not self._up or self._client.want_write()
        return Room(0 if full else max(0, self._most - len(self._in_flight)), self._most, self._largest_bytes)

    def publish(self, channel: Channel, payload: bytes, *, retain: bool = False) -> None:
        """Send on this station's `channel` at QoS 1; what is no summary is said again until somebody hears it.

        Raises:
            LinkDown: the connection is not up.
        """
        self._publish(Said(channel, payload, retain))

    def _publish(self, said: Said) -> None:
        if self._client is None or not self._up:
            raise LinkDown("not connected to the broker")
        info = self._client.publish(topic(self._station, said.channel), said.payload, qos=1, retain=said.retain)
        if info.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._up = False
            raise LinkDown(f"the broker connection broke: {paho.error_string(info.rc)}")
        self._in_flight[info.mid] = self._clock.monotonic()
        self._unheard.said(info.mid, said)

    def poll(self, within_s: float) -> list[Incoming]:
        """Do the network's work for at most `within_s`; return what arrived.

        Raises:
            LinkDown: the connection was lost.
        """
        if self._client is None or not self._up:
            raise LinkDown("not connected to the broker")
        code = self._client.loop(within_s)
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS or not self._up:
            why = self._refused or paho.error_string(code)
            self._drop()
            raise LinkDown(f"lost the broker at {self._host}:{self._port}: {why}", hint=_HINTS.get(self._trouble, ""))
        if self._is_stuck():
            self._drop()
            raise LinkDown(f"the broker at {self._host}:{self._port} answers nothing for {self._keepalive_s} s")
        self._say_again()
        arrived, self._arrived = self._arrived, []
        return arrived

    def close(self, within_s: float) -> None:
        """Say goodbye, wait at most `within_s` for messages in flight, then disconnect cleanly (no Will)."""
        until_s = self._clock.monotonic() + within_s
        try:
            while self._up and not self.room().free and self._clock.monotonic() < until_s:
                self.poll(0.05)
            if self._up:
                self.publish(Channel.STATE, encode_control(self._birth(False)), retain=True)
            while self._up and self._in_flight and self._clock.monotonic() < until_s:
                self.poll(0.05)
        except LinkDown:
            pass  # going anyway; the broker's Will says so
        if self._client is not None and self._up:
            self._client.disconnect()
            self._client.loop(0.05)
        self._drop()

    def _say_again(self) -> None:
        while self.room().free and (said := self._unheard.due(self._clock.monotonic())) is not None:
            if said.channel is Channel.STATE:
                # As it is now: an old birth after newer windows would look like that of a restored station.
                said = replace(said, payload=encode_control(self._birth(True)))
            self._publish(said)

    def _is_stuck(self) -> bool:
        # Half-open: a connection that died without a word looks up for ever. paho pings, and notices after two keepalives.
        if not self._in_flight or self._client is None or self._client.want_write():
            return False
        since_s = max(self._heard_s, min(self._in_flight.values()))
        return self._clock.monotonic() - since_s >= self._keepalive_s

    def _drop(self) -> None:
        client, self._client = self._client, None
        self._up = False
        self._in_flight.clear()
        self._unheard.clear()
        self._arrived.clear()
        if client is not None:
            # Callbacks off first: closing the socket calls on_disconnect.
            client.on_disconnect = None
            sock = client.socket()
            if isinstance(sock, socket.socket):
                sock.close()

    def _not_reached(self, why: str) -> LinkDown:
        hint = _HINTS.get(self._trouble, "is it running?")
        return LinkDown(f"the broker at {self._host}:{self._port} was not reached: {why}", hint=hint)

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        self._answered = True
        if reason.is_failure:
            self._refused = str(reason)
            if reason.value in _REFUSALS:
                self._trouble = Trouble.REFUSED
            return
        self._heard_s = self._clock.monotonic()
        self._most = min(MAX_IN_FLIGHT, int(getattr(properties, "ReceiveMaximum", MAX_IN_FLIGHT) or MAX_IN_FLIGHT))
        packet_bytes = int(getattr(properties, "MaximumPacketSize", ANY_SIZE) or ANY_SIZE)
        overhead = _PUBLISH_BYTES + len(topic(self._station, Channel.SUMMARY).encode())
        self._largest_bytes = max(0, packet_bytes - overhead)
        # Subscribing again is harmless where the session survived, and the retained desired state comes again.
        client.subscribe([(topic(self._station, channel), qos) for channel, qos in _DOWN])

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        self._heard_s = self._clock.monotonic()
        self._refused, self._subscribed = ", ".join(refused), not refused
        if refused:
            self._trouble = Trouble.REFUSED

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._up = False
        self._refused = self._refused or str(reason)
        if reason.value == _TAKEN_OVER:
            self._trouble = Trouble.TAKEN_OVER
        elif reason.value in _REFUSALS:
            self._trouble = Trouble.REFUSED

    def _on_publish(self, _client: paho.Client, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        self._heard_s = self._clock.monotonic()
        self._in_flight.pop(mid, None)
        self._unheard.answered(mid, not reason.is_failure and reason.value != _NO_SUBSCRIBERS, self._heard_s)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self._heard_s = self._clock.monotonic()
        try:
            station, channel = parse_topic(message.topic)
        except (BadMessage, UnicodeDecodeError):
            return  # not one of the three subscriptions, or no topic at all: paho decodes it when asked for it
        if station == self._station:
            self._arrived.append(Incoming(channel, bytes(message.payload)))


def _bound_send_buffer(_client: paho.Client, _data: Any, sock: Any) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)


def _properties(packet: int, **values: int) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]  # paho leaves it so
    for name, value in values.items():
        setattr(properties, name, value)
    return properties
