"""Brokers that lose their files, their queue, a session, what they retained, or that take little at a time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.codec import decode_control
from contract.messages import ReportedState, StationState
from contract.topics import Channel, topic
from tests.chaos.mqtt_framer import Framer, Kind, Packet, connect
from tests.chaos.network.plant import Plant
from tests.chaos.waiting import wait_for


def make_plant(folder: Path, config: str) -> Iterator[Plant]:
    made = Plant(folder, broker_config=config)
    yield made
    made.close()


@pytest.fixture
def saving_plant(tmp_path: Path) -> Iterator[Plant]:
    """The broker writes its state after every change."""
    yield from make_plant(tmp_path, "autosave_on_changes true\nautosave_interval 1\n")


@pytest.fixture
def short_plant(tmp_path: Path) -> Iterator[Plant]:
    """The broker queues one message for who is away."""
    yield from make_plant(tmp_path, "max_queued_messages 1\nmax_inflight_messages 1\n")


@pytest.fixture
def single_plant(tmp_path: Path) -> Iterator[Plant]:
    """The broker's receive maximum is 1."""
    yield from make_plant(tmp_path, "max_inflight_messages 1\n")


@pytest.fixture
def narrow_plant(tmp_path: Path) -> Iterator[Plant]:
    """The broker takes packets of 20,000 bytes at most, and says so."""
    yield from make_plant(tmp_path, "max_packet_size 20000\n")


def take_over(port: int, client_id: str) -> None:
    """End this client's session: connect in its name with a clean start, and leave."""
    with socket.create_connection(("127.0.0.1", port), 60) as thief:
        thief.sendall(connect(client_id, clean=True))
        framer = Framer()
        while not any(packet.kind is Kind.CONNACK for packet in framer.feed(thief.recv(1000))):
            pass
        thief.sendall(b"\xe0\x00")
        while thief.recv(1000):
            pass


def pubacks(plant: Plant) -> int:
    return plant.to_stations.down.passed[Kind.PUBACK]


@pytest.mark.slow
def test_a_broker_that_lost_its_files_after_it_acknowledged_everything_loses_nothing(saving_plant: Plant) -> None:
    plant = saving_plant
    station = plant.begin()
    plant.cloud.stop()
    before = pubacks(plant)
    station.produce(5)
    kept = plant.broker.persistence
    wait_for(lambda: pubacks(plant) - before >= 5 and kept.exists())
    plant.broker.kill()
    kept.unlink()
    plant.broker.start()
    plant.cloud.start()
    balance = plant.settle()
    assert balance.whole == 5


@pytest.mark.long
def test_a_queue_that_is_full_drops_what_it_acknowledged_and_nothing_is_lost(short_plant: Plant) -> None:
    plant = short_plant
    station = plant.begin()
    plant.cloud.stop()
    before = pubacks(plant)
    station.produce(6)
    wait_for(lambda: pubacks(plant) - before >= 6)
    assert "are being dropped for client cloud" in plant.broker.log()
    plant.cloud.start()
    assert plant.settle().whole == 6


@pytest.mark.long
def test_a_session_that_is_lost_with_what_waited_in_it_loses_nothing(plant: Plant) -> None:
    station = plant.begin()
    plant.cloud.stop()
    before = pubacks(plant)
    station.produce(5)
    wait_for(lambda: pubacks(plant) - before >= 5)
    take_over(plant.broker.port, "cloud")
    plant.cloud.start()
    assert plant.settle().whole == 5


def test_a_stations_own_session_may_end_under_it(plant: Plant) -> None:
    station = plant.begin()
    for _ in range(3):
        station.produce(3)
        take_over(plant.broker.port, station.name)
    plant.settle()


class Retained:
    """What the broker gives to who subscribes now."""

    def __init__(self, plant: Plant) -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.kept: dict[str, bytes] = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = lambda _c, _d, m: self.kept.update({m.topic: bytes(m.payload)}) if m.retain else None
        self._client.connect("127.0.0.1", plant.broker.port)
        self._client.subscribe("pl/v1/#", 1)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def test_what_was_retained_and_lost_is_said_again(plant: Plant) -> None:
    station = plant.begin()
    station.report.publish(ReportedState(station.name, station.boot, 1.0, "d" * 64, "COMMITTED"))
    plant.broker.kill()  # nothing was saved yet: whatever was retained is gone
    plant.broker.persistence.unlink(missing_ok=True)
    plant.broker.start()
    expected = {topic(station.name, Channel.STATE), topic(station.name, Channel.REPORTED), "pl/v1/agg/state"}
    worker = plant.cloud.worker
    assert worker is not None
    wait_for(lambda: worker.link.connections() >= 2 and station.connected())
    seen = Retained(plant)
    # What came while it was subscribed is not marked retained: ask anew until all of it is.
    while not expected <= seen.kept.keys():
        seen.close()
        seen = Retained(plant)
        wait_for(lambda seen=seen: seen.kept)
    seen.close()
    assert decode_control(seen.kept[topic(station.name, Channel.STATE)], StationState).online
    station.produce(2)
    plant.settle()


class InFlight:
    """How many QoS 1 publishes were without their PUBACK at once, as seen between the two."""

    def __init__(self, plant: Plant) -> None:
        self.most = 0
        self._ids: set[int] = set()
        self._lock = threading.Lock()
        plant.to_stations.up.watch(self._sent)
        plant.to_stations.down.watch(self._acknowledged)

    def _sent(self, packet: Packet) -> None:
        with self._lock:
            if packet.kind is Kind.CONNECT:
                self._ids.clear()
            elif packet.kind is Kind.PUBLISH and packet.qos:
                self._ids.add(packet.packet_id)
                self.most = max(self.most, len(self._ids))

    def _acknowledged(self, packet: Packet) -> None:
        with self._lock:
            if packet.kind is Kind.PUBACK:
                self._ids.discard(packet.packet_id)


def test_summaries_keep_to_a_receive_maximum_of_one(single_plant: Plant) -> None:
    plant = single_plant
    station = plant.begin()
    wait_for(lambda: pubacks(plant) >= 1)  # the birth's
    seen = InFlight(plant)
    station.produce(15)
    assert plant.settle().whole == 15 and seen.most == 1


def test_a_new_connection_keeps_to_a_receive_maximum_of_one(single_plant: Plant) -> None:
    """MQTT 5, 4.9: a client that exceeds it may be disconnected, and would be for ever."""
    plant = single_plant
    seen = InFlight(plant)
    # The broker's answers take their time: what is sent at once is in flight at once.
    station = plant.begin()
    plant.to_stations.down.delay(0.3)
    station.report.publish(ReportedState(station.name, station.boot, 1.0, "d" * 64, "COMMITTED"))
    plant.to_stations.break_all()
    station.produce(3)
    plant.settle()
    assert seen.most == 1


def test_a_summary_larger_than_the_broker_takes_does_not_hold_up_its_neighbours(narrow_plant: Plant) -> None:
    plant = narrow_plant
    station = plant.begin()
    station.produce(2)
    wait_for(lambda: not station.waiting())
    accepted = plant.to_stations.accepted
    station.produce(1, note="x" * 40_000)
    too_large = next(reversed(plant.produced.frames))
    station.produce(4)
    wait_for(lambda: set(plant.cloud.balance(plant.produced).lost) <= {too_large}, within_s=90)
    balance = plant.cloud.balance(plant.produced)
    assert not balance.double and not balance.unknown
    assert plant.to_stations.accepted - accepted <= 1, "it is not tried again and again"
    assert station.waiting() == 1 or not balance.lost, "kept, or told of"
