"""The controller's side of the line bench: triggers at a rate, whatever comes back noted with its time. One client a protocol."""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from pymodbus.client import ModbusTcpClient

from agent.line_io import modbus_map as m
from agent.line_io.modbus_map import Bit, Hold, In, Reason, Status
from contract.errors import DeadlinePassed

_READY_WITHIN_S = 90.0
_CYCLE_S = 0.001
_AFTER_S = 15.0
_SLOTS_A_READ = 15


@dataclass(frozen=True, slots=True)
class Heard:
    """What came for one ask: "PASS", "REJECT" or "REVIEW", else "" and why there is no verdict.

    `station_ms` is from the trigger to the verdict by the station's own clock.
    """

    ask: int
    verdict: str
    why: str
    at_s: float
    station_ms: float = 0.0


class LinePlc(Protocol):
    """A controller that is connected."""

    def wait_ready(self) -> None:
        """Wait until the station takes triggers.

        Raises:
            DeadlinePassed: it never did.
        """

    def trigger(self, ask: int, part: str) -> None:
        """Say that a part is there."""

    def hear(self, within_s: float) -> list[Heard]:
        """Return what came, waiting so long at most for something."""

    def close(self) -> None:
        """Disconnect."""


class ModbusPlc:
    """Writes a request and reads its result, again and again with a pause of a millisecond, as a fast PLC's cycle does."""

    def __init__(self, port: int) -> None:
        self._client = ModbusTcpClient("127.0.0.1", port=port, timeout=5.0)
        self._open: list[int] = []

    def wait_ready(self) -> None:
        """Connect, begin, and wait for READY."""
        end_s = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < end_s:
            if self._client.connect():  # type: ignore[no-untyped-call]
                self._client.write_register(Hold.REQUEST, 0)
                if self._read(In.STATE, 1)[0] & Bit.READY:
                    return
            time.sleep(0.05)
        raise DeadlinePassed("the station takes no triggers over Modbus")

    def trigger(self, ask: int, part: str) -> None:
        """Write the part and the request in one write."""
        self._open.append(ask)
        self._client.write_registers(Hold.REQUEST, [ask, 0, 0, 0, *m.words(part, m.PART_WORDS)])

    def hear(self, within_s: float) -> list[Heard]:
        """Read the results of what is open."""
        end_s = time.monotonic() + within_s
        while True:
            found = self._look()
            if found or time.monotonic() >= end_s:
                done = {heard.ask for heard in found}
                self._open = [ask for ask in self._open if ask not in done]
                return found
            time.sleep(min(_CYCLE_S, max(0.0, end_s - time.monotonic())))

    def close(self) -> None:
        """Disconnect."""
        self._client.close()  # type: ignore[no-untyped-call]

    def _look(self) -> list[Heard]:
        """Return what has an end, of all that is open; a read shows 15 results at most."""
        found: list[Heard] = []
        left = list(self._open)
        while left:
            first = left[0] % m.SLOTS
            asks = [ask for ask in left if ask - left[0] < min(_SLOTS_A_READ, m.SLOTS - first)]
            left = left[len(asks) :]
            words = self._read(m.RING + m.SLOT_WORDS * first, (asks[-1] - asks[0] + 1) * m.SLOT_WORDS)
            at_s = time.monotonic()
            for ask in asks:
                at = (ask - asks[0]) * m.SLOT_WORDS
                heard = _heard(ask, words[at : at + m.SLOT_WORDS], at_s)
                if heard is not None:
                    found.append(heard)
                    self._client.write_register(Hold.ACK, ask)
        return found

    def _read(self, address: int, count: int) -> list[int]:
        return list(self._client.read_input_registers(address, count=count).registers)


def _heard(ask: int, result: list[int], at_s: float) -> Heard | None:
    seen, status, verdict, _, reason, _, took_ms, _ = result
    if seen != ask or status < Status.VERDICT:
        return None
    if status != Status.VERDICT:
        return Heard(ask, "", Reason(reason).name.lower(), at_s)
    return Heard(ask, next(word for word, code in m.VERDICTS.items() if code == verdict), "", at_s, float(took_ms))


class MqttPlc:
    """Publishes triggers at QoS 1 and takes what comes as it comes."""

    def __init__(self, port: int, topic: str) -> None:
        self._topic = topic
        self._heard: deque[Heard] = deque()
        self._ready = False
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{topic}/#", qos=1)
        self._client.on_message = self._take
        self._client.on_socket_open = _at_once
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def wait_ready(self) -> None:
        """Wait for a state that is ready."""
        end_s = time.monotonic() + _READY_WITHIN_S
        while not self._ready:
            if time.monotonic() > end_s:
                raise DeadlinePassed("the station takes no triggers over MQTT")
            time.sleep(0.05)

    def trigger(self, ask: int, part: str) -> None:
        """Publish it."""
        self._client.publish(f"{self._topic}/trigger", json.dumps({"ask": ask, "part": part}), qos=1)

    def hear(self, within_s: float) -> list[Heard]:
        """Return what came."""
        end_s = time.monotonic() + within_s
        while not self._heard and time.monotonic() < end_s:
            time.sleep(min(_CYCLE_S, max(0.0, end_s - time.monotonic())))
        return [self._heard.popleft() for _ in range(len(self._heard))]

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        at_s = time.monotonic()
        kind = message.topic.rsplit("/", 1)[1]
        if kind == "trigger":
            return
        said = json.loads(message.payload)
        if kind == "state":
            self._ready = bool(said["ready"])
        elif kind == "refused":
            self._heard.append(Heard(int(said["ask"]), "", str(said["why"]), at_s))
        elif kind == "verdict":
            lost = said.get("lost")
            verdict, took_ms = "" if lost else str(said["verdict"]), float(said["latency_ms"])
            self._heard.append(Heard(int(said["ask"]), verdict, str(lost or ""), at_s, took_ms))


def _at_once(_client: object, _data: object, connection: Any) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@dataclass(slots=True)
class Drive:
    """What a drive of so many parts gave: of each ask when it was sent, and all that was heard of it."""

    sent_s: dict[int, float] = field(default_factory=dict)
    heard: dict[int, list[Heard]] = field(default_factory=dict)

    def station_ms(self, first: int) -> list[float]:
        """Return the same by the station's own clock: what is above it is the protocol's."""
        return [heard[0].station_ms for ask, heard in self.heard.items() if ask >= first and heard[0].verdict]

    def latencies_ms(self, first: int) -> list[float]:
        """Return trigger to verdict in ms of the asks from `first` on that have a verdict."""
        return [
            (heard[0].at_s - self.sent_s[ask]) * 1e3
            for ask, heard in sorted(self.heard.items())
            if ask >= first and heard[0].verdict
        ]

    def outcomes(self) -> dict[str, int]:
        """Return how many asks came to what: "answered", or why not; "silence" for none, "twice" for more than one."""
        found: dict[str, int] = {}
        for ask in self.sent_s:
            heard = self.heard.get(ask, [])
            word = "silence" if not heard else "twice" if len(heard) > 1 else heard[0].why or "answered"
            found[word] = found.get(word, 0) + 1
        return found

    def asked_per_s(self) -> float:
        """Return the rate at which it came to ask."""
        return (len(self.sent_s) - 1) / (max(self.sent_s.values()) - min(self.sent_s.values()))


def drive(plc: LinePlc, parts: int, per_s: float) -> Drive:
    """Ask for `parts` at a fixed rate, answered or not, then wait for what is open; asks count from 1."""
    done = Drive()
    begin_s = time.monotonic() + 0.1

    def hear(until_s: float) -> None:
        for heard in plc.hear(max(0.0, until_s - time.monotonic())):
            done.heard.setdefault(heard.ask, []).append(heard)

    for ask in range(1, parts + 1):
        due_s = begin_s + (ask - 1) / per_s
        while time.monotonic() < due_s:
            hear(due_s)
        done.sent_s[ask] = time.monotonic()
        plc.trigger(ask, f"part-{ask}")
        hear(0.0)
    end_s = time.monotonic() + _AFTER_S
    while len(done.heard) < parts and time.monotonic() < end_s:
        hear(time.monotonic() + 0.2)
    return done
