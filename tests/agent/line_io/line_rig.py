"""A line for tests: a real desk and its loop, a camera that answers every trigger, and a controller that talks MQTT."""

from __future__ import annotations

import json
import queue
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.clock import SystemClock
from agent.line_io.desk import Desk, DeskRules
from agent.line_io.plc_loop import PlcLoop
from agent.ports.line import LineAdapter
from agent.ports.recorder import Result
from tests.fakes.agent_line import ListLog
from tests.fakes.running_clock import RunningClock

TOPIC = "line/press-3"
# A second in which this process is not run is no second in which a trigger grew old.
RUNNING = RunningClock()
NOT_FOR_EVER_S = 60.0
"""An end that is bounded by seconds takes longer on a machine that does much else; one that is not takes for ever."""


def until(what: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait until `what` holds."""
    end_s = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < end_s, "it never came to be"
        time.sleep(0.01)


class AheadClock(SystemClock):
    """Time in which this process was run, and what a test lets pass at once: a limit is over when the test says so."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        """Return seconds."""
        return RUNNING.monotonic() + self.ahead_s


class Line:
    """The station's side: `verdict_of` says what comes of a part; None: no frame ever comes."""

    def __init__(
        self,
        open_adapter: Callable[[Desk, ListLog], LineAdapter],
        *,
        verdict_of: Callable[[str], str | None] = lambda part: "PASS",
        heartbeat_s: float = 0.2,
        **rules: Any,
    ) -> None:
        self.clock, self.log = AheadClock(), ListLog()
        self.why = ""
        self.desk = Desk(DeskRules(**{"timeout_s": 60.0, **rules}), self.clock, lambda: self.why)
        self.adapters: list[LineAdapter] = []
        self._verdict_of = verdict_of

        def opened(_desk: Any) -> LineAdapter:
            self.adapters.append(open_adapter(self.desk, self.log))
            return self.adapters[-1]

        self.loop = PlcLoop(self.desk, opened, self.clock, self.log, heartbeat_s=heartbeat_s)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self.loop.run, args=(self._stop,)),
            threading.Thread(target=self._camera),
        ]

    def start(self) -> Line:
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> float:
        """End it; return how long the loop took, in seconds."""
        began_s = time.monotonic()
        self._stop.set()
        self._threads[0].join()
        took_s = time.monotonic() - began_s
        self._threads[1].join()
        return took_s

    def _camera(self) -> None:
        while not self._stop.is_set():
            if not self.desk.wanting():
                with self.desk.news:
                    self.desk.news.wait(0.01)
                continue
            taken = self.desk.take(self.clock.monotonic(), in_order=True)
            verdict = self._verdict_of(taken[1]) if taken else None
            if taken and verdict:
                result = Result(1, self.clock.now(), taken[1], verdict, "", "ok", 0.9, 5.0, "d", asked=taken[0])
                self.desk.came_out(result, recorded=True)


class MqttController:
    """Plays the PLC over a real broker: sends triggers, and keeps what the station says below `TOPIC`."""

    def __init__(self, port: int, name: str = "plc", *, tls: ssl.SSLContext | None = None) -> None:
        self.said: dict[str, queue.Queue[dict[str, Any]]] = {
            each: queue.Queue() for each in ("verdict", "refused", "state")
        }
        self.retained: list[tuple[str, dict[str, Any]]] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        if tls is not None:
            self.client.tls_set_context(tls)
        subscribed = threading.Event()
        self.client.on_connect = lambda client, *_: client.subscribe(f"{TOPIC}/#", qos=1)
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_message = self._take
        self.client.reconnect_delay_set(1, 1)
        self.client.max_inflight_messages_set(20)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert subscribed.wait(60)

    def _take(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        kind = message.topic.rpartition("/")[2]
        if kind in self.said:
            content = json.loads(message.payload)
            if message.retain:
                self.retained.append((kind, content))
            self.said[kind].put(content)

    def trigger(
        self, ask: Any, part: str = "", *, retain: bool = False, lives_s: int | None = None, **more: object
    ) -> None:
        self.send(json.dumps({"ask": ask, "part": part, **more}).encode(), retain=retain, lives_s=lives_s)

    def send(self, payload: bytes, *, retain: bool = False, lives_s: int | None = None) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        if lives_s is not None:
            properties.MessageExpiryInterval = lives_s
        self.client.publish(f"{TOPIC}/trigger", payload, qos=1, retain=retain, properties=properties).wait_for_publish(
            60
        )

    def next(self, kind: str, within_s: float = 60.0) -> dict[str, Any]:
        return self.said[kind].get(timeout=within_s)

    def state(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first state from now on of which `what` holds."""
        while not what(found := self.next("state")):
            pass
        return found

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def books_close(desk: Desk) -> bool:
    """Return whether every trigger is accounted for."""
    counts = desk.counts()
    return (
        counts.triggers
        == sum(Counter(counts.refused).values()) + counts.answered + sum(counts.lost.values()) + counts.waiting
    )
