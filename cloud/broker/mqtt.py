"""The cloud's only file that knows paho: MQTT 5, shared subscription, manual acknowledgement (DESIGN 5)."""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud.broker.publish_socket import Published, PublishSocket, encode_publish
from cloud.ports.link import Arrival, put_arrivals
from contract.codec import encode_control
from contract.messages import AggregatorState
from contract.topics import AGGREGATOR_STATE, UP_CHANNELS, shared_filter

_log = logging.getLogger(__name__)

# A quick restart finds its subscription and what was not acknowledged at the broker, and loses no round trip. No longer: mosquitto
# gives the session of one that is dead its share all the while. What goes with a session is sent again by the stations (P1).
_SESSION_S, _WORKER_SESSION_S = 60, 30
# Two batches and more: one is on its way while another is stored. The broker sends no more than it was told are stored.
RECEIVE_MAXIMUM = 1000
_KEEPALIVE_S = 15
_TURN_S, _FULL_S = 1.0, 0.05
_LEAST_WAIT_S, _MOST_WAIT_S = 0.2, 5.0
_GOODBYE_S = 10.0
# Its own source: nobody else draws from it, or seeds it.
_CHANCE = random.SystemRandom()


class _Client(paho.Client):
    """paho, on a socket that reads and writes in large pieces, and keeps PUBLISH packets to itself."""

    def _create_socket(self) -> Any:
        return PublishSocket(super()._create_socket())  # type: ignore[arg-type]  # a real one: no websockets here


class MqttLink:
    """A connection that mends itself. Arrivals go to `arrivals`: while that is full, nothing is read and the broker waits.

    One thread of its own drives paho (and not paho's, which makes five system calls a message). `announce` tells the stations
    whether an aggregator listens: the one `serve` of a plant does, a worker beside it does not, and ends its session when stopped.
    """

    def __init__(
        self,
        host: str,
        port: int,
        client_id: str,
        arrivals: queue.Queue[Arrival],
        now: Callable[[], float],
        tls: ssl.SSLContext | None = None,
        announce: bool = True,
        channels: bool = True,
        jitter: Callable[[], float] = _CHANCE.random,
    ) -> None:
        """`channels`: whether to take messages of stations at all; `jitter` gives numbers in 0..1."""
        self._host, self._port, self._now, self._jitter = host, port, now, jitter
        self._arrivals, self._announce, self._takes = arrivals, announce, channels
        self._connections = 0
        self._stopping, self._cut, self._woken = threading.Event(), False, False
        self._to_ack: deque[tuple[int, int]] = deque()
        self._to_send: deque[tuple[int, bytes]] = deque()
        # Which connection this is: what an earlier one brought cannot be acknowledged on it, since ids begin anew.
        self._generation = 0
        self._told_absent = False
        self._thread = threading.Thread(target=self._drive, name=f"mqtt {host}:{port}", daemon=True)
        self._client = _Client(
            callback_api_version=CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5, manual_ack=True
        )
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_socket_register_write = lambda *_: self._wake()
        if tls is not None:
            self._client.tls_set_context(tls)
        if announce:
            gone = encode_control(AggregatorState(online=False, at=now()))
            self._client.will_set(AGGREGATOR_STATE, gone, qos=1, retain=True)

    def start(self) -> None:
        """Connect in the background and keep trying; a broker that is not there yet is waited for."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it so
        properties.SessionExpiryInterval = _SESSION_S if self._announce else _WORKER_SESSION_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        self._client.connect_async(
            self._host, self._port, keepalive=_KEEPALIVE_S, clean_start=False, properties=properties
        )
        self._waker, self._wakened = socket.socketpair()
        for end in (self._waker, self._wakened):
            end.setblocking(False)
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye and disconnect."""
        if self._announce:
            gone = encode_control(AggregatorState(online=False, at=self._now()))
            self.publish(AGGREGATOR_STATE, gone, qos=1, retain=True)
        self._end()

    def cut(self) -> None:
        """End as a crash would: no goodbye, nothing acknowledged that was not sent yet; the broker tells the Will."""
        self._cut = True
        self._end()

    def _end(self) -> None:
        self._stopping.set()
        if self._thread.ident is None:
            return  # it was never started
        self._wake()
        self._thread.join(_GOODBYE_S)
        if not self._thread.is_alive():
            self._waker.close()
            self._wakened.close()

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> bool:
        """Hand a message to the broker; return whether it was taken."""
        if not self._client.is_connected():
            return False  # paho would queue it in memory; what must not be lost waits in the database instead
        if qos == 0:
            # An ack a station and batch: paho takes as long over one as it takes to store a summary.
            self._to_send.append((self._generation, encode_publish(topic, payload, retain)))
            self._wake()
            return True
        return self._client.publish(topic, payload, qos=qos, retain=retain).rc == paho.MQTT_ERR_SUCCESS

    def connections(self) -> int:
        """Return how often a connection was made so far."""
        return self._connections

    def connected(self) -> bool:
        """Return whether the broker is reached right now."""
        return bool(self._client.is_connected())

    def _drive(self) -> None:
        """Connect, serve the connection, and again: full jitter, so that not everybody comes back at once."""
        tries = 0
        while not self._stopping.is_set():
            before = self._connections
            self._generation += 1
            try:
                self._client.reconnect()
            except (OSError, ValueError) as error:  # ValueError: a name that is no host's, or TLS set up wrongly
                self._tell_absent(error)
            else:
                try:
                    self._serve()
                except OSError as error:
                    _log.warning("lost broker %s:%d (%s); trying again", self._host, self._port, error)
                except Exception:  # noqa: BLE001 - the thread's outermost guard: without it nothing would ever connect again
                    _log.exception("the connection to broker %s:%d broke", self._host, self._port)
            tries = 0 if self._connections > before else tries + 1
            most = min(_MOST_WAIT_S, _LEAST_WAIT_S * 2**tries)
            self._stopping.wait(_LEAST_WAIT_S + self._jitter() * (most - _LEAST_WAIT_S))

    def _serve(self) -> None:
        """Read and write until the connection ends."""
        client, goodbye = self._client, False
        while isinstance(sock := client.socket(), PublishSocket):
            if self._cut:
                sock.abandon()
                return
            if self._stopping.is_set() and not goodbye:
                goodbye = True
                self._write(sock)  # what was stored is acknowledged before the goodbye, not after it
                self._say_goodbye()
            full = 0 < self._arrivals.maxsize <= self._arrivals.qsize() and not goodbye
            self._write(sock)
            if client.socket() is None:
                return
            reads = [self._wakened] if full else [sock, self._wakened]
            writes = [sock] if sock.unsent() else []
            busy = sock.pending() > 0 and not full
            ready, _, _ = select.select(reads, writes, [], 0.0 if busy else _FULL_S if full else _TURN_S)
            if self._wakened in ready:
                with contextlib.suppress(BlockingIOError):
                    self._wakened.recv(4096)
                self._woken = False
            if busy or sock in ready:
                self._read_all(sock)
            client.loop_misc()

    def _say_goodbye(self) -> None:
        """Disconnect. A worker takes its session with it: it may never come back, and others are there to take its share."""
        if self._announce:
            self._client.disconnect()
            return
        if self._takes:
            self._client.unsubscribe([shared_filter(channel) for channel in UP_CHANNELS])
        properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]  # paho leaves it so
        properties.SessionExpiryInterval = 0
        self._client.disconnect(properties=properties)

    def _read_all(self, sock: PublishSocket) -> None:
        """Take one piece from the network: the messages in it, and what is paho's to handle."""
        while self._is_open(sock):
            self._client.loop_read()
            if not sock.pending():
                break
        if published := sock.published():
            put_arrivals(self._arrivals, [self._arrival(each) for each in published])

    def _write(self, sock: PublishSocket) -> None:
        while self._to_ack and not sock.is_full():
            waiting = [self._to_ack.popleft() for _ in range(len(self._to_ack))]
            sock.acknowledge([mid for generation, mid in waiting if generation == self._generation])
        packets = [self._to_send.popleft() for _ in range(len(self._to_send))]
        if packets and not sock.is_full():  # QoS 0: what the broker does not read is lost, as what the network drops
            sock.send(b"".join([packet for generation, packet in packets if generation == self._generation]))
        if self._client.want_write():
            self._client.loop_write()
        if self._is_open(sock):
            sock.flush()

    def _is_open(self, sock: object) -> bool:
        return self._client.socket() is sock

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            with contextlib.suppress(OSError):  # full: it wakes anyway; closed: it has ended
                self._waker.send(b"x")

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            _log.warning("broker %s:%d refused the connection: %s", self._host, self._port, reason)
            return
        if self._takes:
            # Subscribing again is harmless where the session survived and needed where it did not.
            client.subscribe([(shared_filter(channel), 1) for channel in UP_CHANNELS])
        else:
            # A session from when it did take them would go on receiving its share.
            client.unsubscribe([shared_filter(channel) for channel in UP_CHANNELS])
        if self._announce:
            online = encode_control(AggregatorState(online=True, at=self._now()))
            client.publish(AGGREGATOR_STATE, online, qos=1, retain=True)
        self._connections += 1
        self._told_absent = False
        _log.info("connected to broker %s:%d", self._host, self._port)

    def _tell_absent(self, error: Exception) -> None:
        if not self._told_absent:  # once; it is tried every few seconds
            self._told_absent = True
            where = f"{self._host}:{self._port}"
            if isinstance(error, ssl.SSLError):
                hint = "check the files of [broker] in cloud.toml: plumbline-cloud provision status"
                _log.error(
                    "the broker at %s and this side do not trust each other (%s); trying on (%s)", where, error, hint
                )
                return
            hint = "start mosquitto there, or set [broker] in cloud.toml"
            _log.error("no broker answers at %s (%s); trying on (%s)", where, error, hint)

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not self._stopping.is_set():
            _log.warning("lost broker %s:%d (%s); trying again", self._host, self._port, reason)

    def _arrival(self, message: Published) -> Arrival:
        try:
            name = str(message.topic, "utf-8")
        except UnicodeDecodeError:
            name = "(no UTF-8)"
        return Arrival(name, message.payload, self._done(message.mid, message.qos))

    def _done(self, mid: int, qos: int) -> Callable[[], None]:
        """Return what acknowledges a message on the connection that brought it; on a later one the broker sends it again."""
        item = (self._generation, mid)

        def done() -> None:
            if qos:
                self._to_ack.append(item)
                self._wake()

        return done
