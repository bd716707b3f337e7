"""The cloud's link and ingest against a real mosquitto."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from cloud.broker.mqtt import MqttLink
from cloud.ingest_loop import IngestLoop
from cloud.ports.link import Arrival
from contract.codec import decode_control, encode_summary
from contract.errors import TransientError
from contract.messages import Ack, AggregatorState
from contract.topics import AGGREGATOR_STATE, Channel, topic
from tests.fakes.cloud_tables import Tables, commit_batch, summary
from tests.fixtures_broker import Broker


class Worker:
    """The cloud's ingest side as one process would run it; `die` is a crash: no goodbye, the batch at hand is lost."""

    def __init__(self, broker: Broker, tables: Tables, *, dies_after: int = 10**9) -> None:
        self._dies_after = dies_after
        arrivals: queue.Queue[Arrival] = queue.Queue(2000)
        self.link = MqttLink("127.0.0.1", broker.port, "cloud", arrivals, time.time)
        self.dead = False
        self.loop = IngestLoop(arrivals, self.link, lambda b, n: self._commit(tables, b, n), time.time, time.sleep)
        self._thread = threading.Thread(target=self.loop.run, daemon=True)
        self.link.start()
        self._thread.start()

    def _commit(self, tables: Tables, batch: Any, now: float) -> int:
        if self.dead or self.loop.committed >= self._dies_after:
            self.dead = True
            self.loop.stop()
            raise TransientError("this process is no more")
        return commit_batch(tables, batch, now)

    def die(self) -> None:
        self.dead = True
        self.link.cut()
        self.loop.stop()
        self._thread.join(60)

    def stop(self) -> None:
        self.loop.stop()
        self._thread.join(60)
        self.link.stop()


class Station:
    """A station's outbox: sends what is not acknowledged, again and again."""

    def __init__(self, broker: Broker, name: str, count: int) -> None:
        self.name = name
        self.outbox = {seq: encode_summary(summary(name, seq)) for seq in range(1, count + 1)}
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        self._client.on_message = self._on_ack
        self._client.on_connect = lambda client, *_: client.subscribe(topic(name, Channel.ACK), 0)
        listens = threading.Event()
        self._client.on_subscribe = lambda *_: listens.set()
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        # An acknowledgement comes once, and is lost on who does not listen yet.
        assert listens.wait(60.0), "the broker does not answer"

    def _on_ack(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with self._lock:
            for first, last in decode_control(message.payload, Ack).ranges:
                for seq in range(first, last + 1):
                    self.outbox.pop(seq, None)

    def send(self, *, twice: float = 0.3) -> None:
        with self._lock:
            waiting = list(self.outbox.items())
        random.Random(len(waiting)).shuffle(waiting)
        for number, (_, payload) in enumerate(waiting):
            for _ in range(2 if number % 10 < twice * 10 else 1):
                self._client.publish(topic(self.name, Channel.SUMMARY), payload, qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def wait_for(what: Callable[[], bool], within_s: float = 90.0) -> None:
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def test_five_hundred_summaries_with_duplicates_and_a_crash_in_the_middle_are_counted_once(
    broker: Broker, tables: Tables
) -> None:
    first = Worker(broker, tables, dies_after=150)
    wait_for(lambda: first.link.connections() == 1)
    stations = [Station(broker, f"s{n}", 100) for n in range(5)]
    for station in stations:
        station.send()
    wait_for(lambda: first.dead)
    first.die()
    second = Worker(broker, tables)
    wait_for(lambda: second.link.connections() == 1)
    until = time.monotonic() + 90
    while any(s.outbox for s in stations) and time.monotonic() < until:
        for station in stations:
            station.send()
        time.sleep(0.3)
    for station in stations:
        station.close()
    second.stop()
    assert [len(s.outbox) for s in stations] == [0] * 5, "every summary was acknowledged in the end"
    totals = tables.summaries.totals()
    assert [(t.summaries, t.passed, t.missing_seqs) for t in totals] == [(100, 700, 0)] * 5
    assert 150 <= first.loop.committed < 500 and first.loop.committed + second.loop.committed == 500


def test_what_a_worker_took_and_did_not_commit_comes_again_without_being_sent_again(
    broker: Broker, tables: Tables
) -> None:
    first = Worker(broker, tables, dies_after=0)
    wait_for(lambda: first.link.connections() == 1)
    station = Station(broker, "s1", 50)
    station.send(twice=0)
    wait_for(lambda: first.dead)
    first.die()
    second = Worker(broker, tables)
    wait_for(lambda: not station.outbox)
    station.close()
    second.stop()
    assert (first.loop.committed, second.loop.committed, second.loop.duplicates) == (0, 50, 0)


def test_the_link_mends_itself_when_the_broker_dies_and_comes_back(broker: Broker, tables: Tables) -> None:
    worker = Worker(broker, tables)
    wait_for(lambda: worker.link.connections() == 1)
    broker.kill()
    wait_for(lambda: not worker.link.connected())
    assert not worker.link.publish("pl/v1/x", b"", qos=1, retain=False), "nothing is queued in memory"
    broker.start()
    wait_for(lambda: worker.link.connections() >= 2)
    station = Station(broker, "s1", 20)
    station.send()
    wait_for(lambda: not station.outbox)
    station.close()
    worker.stop()
    assert tables.summaries.totals()[0].summaries == 20


def test_a_broker_that_is_not_there_yet_is_waited_for(tmp_path: Path, tables: Tables) -> None:
    broker = Broker(tmp_path / "late")
    worker = Worker(broker, tables)
    time.sleep(0.2)
    assert not worker.link.connected()
    broker.start()
    wait_for(worker.link.connected)
    worker.stop()
    broker.kill()


def test_everyone_can_see_whether_an_aggregator_listens(broker: Broker, tables: Tables) -> None:
    seen: list[bool] = []
    watcher = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    watcher.on_message = lambda _c, _d, m: seen.append(decode_control(m.payload, AggregatorState).online)
    watcher.connect("127.0.0.1", broker.port)
    watcher.subscribe(AGGREGATOR_STATE, 1)
    watcher.loop_start()
    worker = Worker(broker, tables)
    wait_for(lambda: seen == [True])
    worker.stop()
    wait_for(lambda: seen == [True, False])
    crashing = Worker(broker, tables)
    wait_for(lambda: seen == [True, False, True])
    crashing.die()
    wait_for(lambda: seen == [True, False, True, False])
    watcher.disconnect()
    watcher.loop_stop()
