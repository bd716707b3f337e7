"""Several real brokers as one link."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.broker.mqtt import MqttLink
from cloud.broker.sharded import ShardedLink
from cloud.ingest_loop import IngestLoop
from cloud.ingest_wiring import make_link
from cloud.ports.link import Arrival, take_arrivals
from cloud.ports.shards import shard_of
from contract.messages import AggregatorState
from contract.topics import AGGREGATOR_STATE, Channel, topic
from tests.cloud.broker.test_ingest_over_broker import Station, wait_for
from tests.fakes.cloud_tables import Tables, commit_batch
from tests.fixtures_broker import Broker


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[dict[str, Broker]]:
    made = [Broker(tmp_path / f"broker{number}") for number in range(2)]
    for each in made:
        each.start()
    yield {f"127.0.0.1:{each.port}": each for each in made}
    for each in made:
        each.kill()


def test_each_station_hears_on_its_own_broker_and_all_arrive_in_one_queue(
    brokers: dict[str, Broker], tables: Tables, request: pytest.FixtureRequest
) -> None:
    arrivals: queue.Queue[Arrival] = queue.Queue(4000)
    link = make_link(tuple(brokers), "cloud", arrivals, time.time)
    request.addfinalizer(link.stop)  # also where this fails: its threads would go on
    assert isinstance(link, ShardedLink) and not link.connected() and link.connections() == 0
    link.start()
    wait_for(lambda: link.connected() and link.connections() == 2)
    # The brokers' ports are others each time, and so is who is with which.
    at: dict[str, str] = {}
    for number in range(1000):
        shard = shard_of(f"s{number}", tuple(brokers))
        if list(at.values()).count(shard) < 3:
            at[f"s{number}"] = shard
    names = list(at)
    assert len(names) == 6 and len(set(at.values())) == 2, "both have stations"
    stations = [Station(brokers[at[name]], name, 10) for name in names]
    loop = IngestLoop(arrivals, link, lambda b, n: commit_batch(tables, b, n), time.time, time.sleep)
    for station in stations:
        station.send(twice=0)
    until = time.monotonic() + 90
    while any(s.outbox for s in stations):
        assert time.monotonic() < until, "an ack did not reach its station"
        if taken := take_arrivals(arrivals, 200, 0.1):
            loop.ingest(taken)
    for station in stations:
        station.close()
    assert [t.summaries for t in tables.summaries.totals()] == [10] * 6

    gone, other = names[0], next(n for n in names if at[n] != at[names[0]])
    down = brokers[at[gone]]
    down.kill()
    wait_for(lambda: not link.connected())
    assert not link.publish(topic(gone, Channel.DESIRED), b"{}", qos=1, retain=True)
    assert link.publish(topic(other, Channel.DESIRED), b"{}", qos=1, retain=True), "the other broker is there"
    assert not link.publish("pl/v1/agg/other", b"{}", qos=1, retain=True), "what is for all must reach all"
    down.start()
    wait_for(lambda: link.connections() >= 3)


def test_a_worker_that_comes_and_goes_tells_nobody_that_the_cloud_is_off(broker: Broker) -> None:
    """Liveness is `serve`'s alone: a retained "offline" of a worker would send stations into hiding."""
    arrivals: queue.Queue[Arrival] = queue.Queue()
    seen: list[bool] = []

    class Watcher(Station):
        def __init__(self) -> None:
            super().__init__(broker, "watcher", 0)
            self._client.message_callback_add(AGGREGATOR_STATE, lambda _c, _d, m: seen.append(_online(m.payload)))
            self._client.subscribe(AGGREGATOR_STATE, 1)

    watcher = Watcher()
    serve = MqttLink("127.0.0.1", broker.port, "cloud", arrivals, time.time)
    serve.start()
    wait_for(lambda: seen == [True])
    for end in (MqttLink.stop, MqttLink.cut):
        worker = MqttLink("127.0.0.1", broker.port, "cloud-ingest-0", arrivals, time.time, announce=False)
        worker.start()
        wait_for(worker.connected)
        end(worker)
    serve.stop()
    wait_for(lambda: len(seen) == 2)
    watcher.close()
    assert seen == [True, False], "one coming and one going: those of serve"


def test_a_link_that_takes_no_messages_gives_up_the_share_that_it_had(broker: Broker) -> None:
    """`in_serve = false` after years of true: the session at the broker still subscribes."""
    before: queue.Queue[Arrival] = queue.Queue()
    after: queue.Queue[Arrival] = queue.Queue()
    for taking, arrivals in ((True, before), (False, after)):
        link = MqttLink("127.0.0.1", broker.port, "cloud", arrivals, time.time, channels=taking)
        link.start()
        wait_for(lambda at=link: at.connections() == 1)  # type: ignore[misc]
        link.stop()
    worker = MqttLink("127.0.0.1", broker.port, "worker", before, time.time, announce=False)
    worker.start()
    wait_for(lambda: worker.connections() == 1)
    serve = MqttLink("127.0.0.1", broker.port, "cloud", after, time.time, channels=False)
    serve.start()
    wait_for(lambda: serve.connections() == 1)
    station = Station(broker, "s1", 40)
    station.send(twice=0)
    wait_for(lambda: before.qsize() >= 40)
    station.close()
    serve.stop()
    worker.stop()
    assert after.qsize() == 0 and before.qsize() == 40


def _online(payload: bytes) -> bool:
    from contract.codec import decode_control

    return decode_control(payload, AggregatorState).online
