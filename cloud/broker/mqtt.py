"""The cloud's only file that knows paho: MQTT 5, shared subscription, manual acknowledgement (DESIGN 5)."""

from __future__ import annotations

import logging
import queue
import ssl
import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud.ports.link import Arrival
from contract.codec import encode_control
from contract.messages import AggregatorState
from contract.topics import AGGREGATOR_STATE, UP_CHANNELS, shared_filter

_log = logging.getLogger(__name__)

# An hour of session keeps a restarting worker's subscription and unacknowledged messages at the broker.
_SESSION_EXPIRY_S = 3600
_RECEIVE_MAXIMUM = 200


class MqttLink:
    """A connection that mends itself. Arrivals go to `arrivals`, a bounded queue: when it is full, the broker waits."""

    def __init__(
        self,
        host: str,
        port: int,
        client_id: str,
        arrivals: queue.Queue[Arrival],
        now: Callable[[], float],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._host, self._port, self._now = host, port, now
        self._arrivals = arrivals
        self._connections = 0
        self._stopping = threading.Event()
        self._client = paho.Client(
            callback_api_version=CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5, manual_ack=True
        )
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect
        self._client.on_connect_fail = self._on_connect_fail
        self._told_absent = False
        self._client.reconnect_delay_set(min_delay=1, max_delay=5)
        gone = encode_control(AggregatorState(online=False, at=now()))
        self._client.will_set(AGGREGATOR_STATE, gone, qos=1, retain=True)

    def start(self) -> None:
        """Connect in the background and keep trying; a broker that is not there yet is waited for."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it so
        properties.SessionExpiryInterval = _SESSION_EXPIRY_S
        properties.ReceiveMaximum = _RECEIVE_MAXIMUM
        self._client.connect_async(self._host, self._port, keepalive=15, clean_start=False, properties=properties)
        self._client.loop_start()

    def stop(self) -> None:
        """Say goodbye and disconnect."""
        self._stopping.set()
        gone = encode_control(AggregatorState(online=False, at=self._now()))
        self.publish(AGGREGATOR_STATE, gone, qos=1, retain=True)
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> bool:
        """Hand a message to the broker; return whether it was taken."""
        if not self._client.is_connected():
            return False  # paho would queue it in memory; what must not be lost waits in the database instead
        return self._client.publish(topic, payload, qos=qos, retain=retain).rc == paho.MQTT_ERR_SUCCESS

    def connections(self) -> int:
        """Return how often a connection was made so far."""
        return self._connections

    def connected(self) -> bool:
        """Return whether the broker is reached right now."""
        return bool(self._client.is_connected())

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            _log.warning("broker %s:%d refused the connection: %s", self._host, self._port, reason)
            return
        # Subscribing again is harmless where the session survived and needed where it did not.
        client.subscribe([(shared_filter(channel), 1) for channel in UP_CHANNELS])
        client.publish(
            AGGREGATOR_STATE, encode_control(AggregatorState(online=True, at=self._now())), qos=1, retain=True
        )
        self._connections += 1
        self._told_absent = False
        _log.info("connected to broker %s:%d", self._host, self._port)

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        if not self._told_absent:  # once; it is tried every few seconds
            self._told_absent = True
            where = f"{self._host}:{self._port}"
            _log.error(
                "no broker answers at %s; trying on (start mosquitto there, or set [broker] in cloud.toml)", where
            )

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not self._stopping.is_set():
            _log.warning("lost broker %s:%d (%s); trying again", self._host, self._port, reason)

    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        def done(mid: int = message.mid, qos: int = message.qos) -> None:
            if qos:
                client.ack(mid, qos)

        arrival = Arrival(message.topic, bytes(message.payload), done)
        while not self._stopping.is_set():
            try:
                self._arrivals.put(arrival, timeout=0.5)
                return
            except queue.Full:
                continue
