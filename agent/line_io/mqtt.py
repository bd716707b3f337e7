"""Triggers in and verdicts out over the line's own MQTT broker (MQTT 5).

Below the topic: `trigger` (to the station), `verdict`, `refused` and `state` (from it); `mqtt_messages` has their JSON. The
session is clean and nothing is retained but `state`: a trigger sent while the station is away, or kept by the broker, asks for
a part that is gone. Whoever reads takes PASS only from a verdict with the ask in hand; a `state` that is not ready, silence for
three heartbeats and a lost broker all mean that there is none.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.line_io.mqtt_queue import MqttQueue, Out
from agent.line_io.mqtt_tls import LineCertificates
from agent.line_io.mqtt_triggers import MqttTriggers
from agent.ports.line import Answer, LineDesk, LineState
from agent.ports.log import Log
from contract.errors import BadMessage, InvalidConfig

_IN_FLIGHT = 20
# What is longer never leaves the broker, and nobody here need hold it to say no to it (MQTT 5.0, 3.1.2.11.4).
_PACKET_BYTES = 64 << 10
_CONNECT_S, _AGAIN_S, _TURN_S = 3.0, 1.0, 0.2
_FLUSH_S, _STOP_S = 1.2, 2.0
_MAX_TOPIC_CHARS = 200
# MQTT 5.0, 3.4.2.1: the broker has the message, and there is nobody to give it to.
_NO_SUBSCRIBERS = 0x10
_LEAVE_OUT_RETAINED = 2


class _Down(Exception):
    """The connection is not there, and why."""


class MqttLine:
    """An `agent.ports.line.LineAdapter`; its one thread holds the connection, and makes a fresh one when that is lost."""

    def __init__(
        self,
        desk: LineDesk,
        log: Log,
        *,
        topic: str,
        client_id: str,
        host: str,
        port: int,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        heartbeat_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """With `ca_file` it speaks TLS and believes that authority only; `cert_file` and `key_file` show who the station is."""
        self._desk, self._log = desk, log
        self._topic, self._client_id, self._host, self._port = topic, client_id, host, port
        self._certificates = LineCertificates(ca_file, cert_file, key_file)
        self._monotonic = monotonic
        self._silence_s = 3 * heartbeat_s
        # A verdict is of use for so long; the station's own timeout came before.
        self._within_s = min(10.0, max(1.0, self._silence_s))
        self._queue = MqttQueue(desk.unshown, monotonic, within_s=self._within_s, silence_s=self._silence_s)
        self._triggers = MqttTriggers(desk, self._queue, log)
        self._tls: ssl.SSLContext | None = None
        self._client: paho.Client | None = None
        self._birth = 0
        self._subscribed, self._refused = False, ""
        self._in_flight: dict[int, Out] = {}
        self._trouble = "not connected yet"
        self._stopping = threading.Event()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="plc-mqtt", daemon=True)

    def start(self) -> None:
        """Begin to connect; a broker that is away is tried again and again, and `trouble` says so.

        Raises:
            InvalidConfig: the topic or the certificates cannot be used.
        """
        if not _is_topic(self._topic):
            raise InvalidConfig(f"plc.topic '{self._topic[:40]}' cannot be a topic", hint='for example "line/press-3"')
        self._tls = self._certificates.context()
        self._thread.start()

    def show(self, answer: Answer) -> None:
        """Queue `answer`; see `agent.ports.line.LineAdapter`."""
        try:
            self._queue.verdict(answer)
        except BadMessage as error:
            self._log.fault("plc", error.one_line())
        self._wake()

    def beat(self, state: LineState) -> None:
        """Have `state` said; see `agent.ports.line.LineAdapter`."""
        self._queue.beat(state)
        self._wake()

    def trouble(self) -> str:
        """Return why nobody hears the station, "" if the broker does."""
        return self._trouble

    def stop(self) -> None:
        """Say what is left to say, that the station is away, and goodbye; at most two seconds."""
        self._stopping.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)
        if not self._thread.is_alive():
            self._woken.close()
            self._waker.close()
        self._queue.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._connect()
                self._trouble = ""
                self._serve()
                self._say_goodbye()
            except (_Down, OSError, ValueError, InvalidConfig) as error:
                why = error.one_line() if isinstance(error, InvalidConfig) else str(error)
                self._trouble = f"the line's broker at {self._host}:{self._port} is away: {why}"
            except BaseException as error:  # noqa: BLE001 - the line's connection outlives our faults; they are said
                self._trouble = f"{type(error).__name__}: {error}"
            self._drop()
            self._queue.forget_stale()
            self._stopping.wait(_AGAIN_S)
        self._queue.close()

    def _serve(self) -> None:
        turned_s = self._monotonic()
        while not self._stopping.is_set():
            now_s = self._monotonic()
            if now_s - turned_s > self._within_s:
                # Triggers that the kernel kept meanwhile are as old as that, and nothing in them says so.
                raise _Down(f"this process slept for {now_s - turned_s:.1f} s")
            turned_s = now_s
            self._send()
            self._turn(_TURN_S)

    def _turn(self, within_s: float) -> None:
        """Do the network's work, for at most `within_s` without any. Raises `_Down` when the connection is lost."""
        client = self._client
        sock: Any = client.socket() if client is not None else None
        if client is None or sock is None:
            raise _Down(self._refused or "the connection broke")
        pending = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        wait_s = 0.0 if pending else within_s
        readable, writable, _ = select.select((sock, self._woken), (sock,) if client.want_write() else (), (), wait_s)
        if self._woken in readable:
            self._woken.recv(4096)
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        if pending or sock in readable:
            code = client.loop_read()
        if code is MQTTErrorCode.MQTT_ERR_SUCCESS and sock in writable:
            code = client.loop_write()
        if code is MQTTErrorCode.MQTT_ERR_SUCCESS:
            code = client.loop_misc()
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS or self._refused:
            raise _Down(self._refused or paho.error_string(code))
        # Half-open: a connection that died without a word looks up for ever.
        since_s = self._monotonic() - max(self._silence_s, _CONNECT_S)
        if any(each.sent_s < since_s for each in self._in_flight.values()):
            raise _Down("it acknowledges nothing")

    def _send(self) -> None:
        """Hand on what waits, as far as the connection takes it."""
        self._queue.forget_stale()
        state = self._queue.fresh_state(self._birth)
        if state is not None:
            self._publish(state)
        while len(self._in_flight) < _IN_FLIGHT and self._client is not None and not self._client.want_write():
            out = self._queue.next()
            if out is None:
                return
            self._publish(out)

    def _publish(self, out: Out) -> None:
        if self._client is None:
            raise _Down("the connection broke")
        out.sent_s = self._monotonic()
        lives = {"MessageExpiryInterval": math.ceil(out.lives_s)} if out.lives_s else {}
        try:
            info = self._client.publish(
                f"{self._topic}/{out.subtopic}",
                out.payload,
                qos=1,
                retain=out.subtopic == "state",
                properties=_properties(PacketTypes.PUBLISH, **lives),
            )
        except BaseException:
            self._queue.put_back([out])  # it is said again, or told as unshown once it is of no use
            raise
        self._in_flight[info.mid] = out
        if info.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise _Down(paho.error_string(info.rc))

    def _connect(self) -> None:
        """Connect, subscribe, say the birth. Raises `_Down`, OSError, ValueError: not now; InvalidConfig: bad certificates."""
        self._birth += 1
        client = self._client = paho.Client(
            callback_api_version=CallbackAPIVersion.VERSION2, client_id=self._client_id, protocol=paho.MQTTv5
        )
        if self._tls is not None:
            self._tls = self._certificates.context()  # read anew: it may have been renewed
            client.tls_set_context(self._tls)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_subscribe, client.on_publish = self._on_subscribe, self._on_publish
        client.on_message, client.on_socket_open = self._on_message, _send_at_once
        client.connect_timeout = _CONNECT_S
        client.max_inflight_messages_set(
            2 * _IN_FLIGHT
        )  # states beside a full row of verdicts; `_send` keeps the bound
        will = self._queue.away(self._birth, "the station is gone")
        client.will_set(f"{self._topic}/state", will.payload, qos=1, retain=True)
        self._subscribed, self._refused = False, ""
        keepalive_s = max(5, min(60, math.ceil(self._silence_s)))
        wanted = _properties(
            PacketTypes.CONNECT, SessionExpiryInterval=0, ReceiveMaximum=_IN_FLIGHT, MaximumPacketSize=_PACKET_BYTES
        )
        client.connect(self._host, self._port, keepalive_s, clean_start=True, properties=wanted)
        until_s = self._monotonic() + _CONNECT_S
        while not self._subscribed:
            if self._stopping.is_set() or self._monotonic() >= until_s:
                raise _Down("no answer to the connection")
            self._turn(0.05)
        self._publish(self._queue.state(self._birth))  # the birth: what the last Will said is over

    def _say_goodbye(self) -> None:
        until_s = self._monotonic() + _FLUSH_S
        self._send()
        self._publish(self._queue.away(self._birth, "the station stops"))
        while self._in_flight and self._monotonic() < until_s:
            self._turn(0.05)
        if self._client is not None:
            self._client.disconnect()
            with contextlib.suppress(_Down):
                self._turn(0.05)

    def _drop(self) -> None:
        """Close the connection; verdicts that nobody acknowledged wait for the next one, as long as they are of use."""
        client, self._client = self._client, None
        self._queue.put_back(self._in_flight.values())
        self._in_flight.clear()
        if client is not None:
            client.on_disconnect = None  # closing the socket would call it
            sock: Any = client.socket()
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.close()

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refused = f"it refused the station: {reason}"
            return
        options = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=_LEAVE_OUT_RETAINED)
        client.subscribe(f"{self._topic}/trigger", options=options)

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        self._subscribed = not refused
        if refused:
            self._refused = f"it refused the topic: {', '.join(refused)}"

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._refused = self._refused or str(reason)

    def _on_publish(self, _client: paho.Client, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        out = self._in_flight.pop(mid, None)
        if out is None or out.answer is None:
            return
        if reason.is_failure or reason.value == _NO_SUBSCRIBERS:
            self._queue.unshown(out.answer)
        else:
            self._queue.count("shown")

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        left_s = getattr(message.properties, "MessageExpiryInterval", None)
        self._triggers.came(bytes(message.payload), retained=message.retain, again=message.dup, left_s=left_s)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it wakes anyway; closed: it stopped
            self._waker.send(b"w")


def _is_topic(text: str) -> bool:
    return 0 < len(text) <= _MAX_TOPIC_CHARS and text.isprintable() and not set("+#") & set(text) and text[0] != "$"


def _send_at_once(_client: paho.Client, _data: Any, sock: Any) -> None:
    # A verdict right after an acknowledgement would wait until the broker has acknowledged that one: 40 ms.
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _properties(packet: int, **values: int) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]  # paho leaves it so
    for name, value in values.items():
        setattr(properties, name, value)
    return properties
