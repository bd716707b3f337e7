"""Packet identifiers are 16 bits and never 0 (MQTT 5, 2.2.1): after 65,535 comes 1."""

from __future__ import annotations

import time

import pytest

from agent.clock import SystemClock
from agent.uplink.mqtt import MqttLink
from contract.codec import encode_summary
from contract.messages import StationState
from contract.topics import Channel
from tests.chaos.mqtt_framer import Kind, Packet
from tests.chaos.network.plant import Plant
from tests.fakes.cloud_tables import summary


@pytest.mark.long
def test_an_uplink_goes_past_the_last_packet_id(plant: Plant) -> None:
    station = plant.begin(keepalive_s=30)
    seen: list[int] = []

    def note(packet: Packet) -> None:
        if packet.kind is Kind.PUBLISH and packet.topic.endswith("up/sum"):
            seen.append(packet.packet_id)

    plant.to_stations.up.watch(note)
    # As after 65,525 publishes over one connection.
    station.uplink._link._client._last_mid = 65_525
    station.produce(30)
    assert plant.settle().whole == 30
    assert seen[:30] == [*range(65_526, 65_536), *range(1, 21)]


def places(link: MqttLink) -> int:
    """Return how many more messages it takes now, whether it says a number or a Room."""
    room = link.room()
    return int(getattr(room, "free", room))


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_seventy_thousand_publishes_over_one_connection_arrive_once(plant: Plant) -> None:
    """On the station's side of the broker and on the worker's the ids wrap by themselves."""
    count = 70_000
    plant.broker.start()
    worker = plant.cloud.start()
    clock = SystemClock()

    def birth(online: bool) -> StationState:
        return StationState("s1", "b1", online, time.time())

    link = MqttLink("127.0.0.1", plant.to_stations.port, "s1", birth, clock)
    link.connect(30.0)
    sent = 0
    while sent < count:
        # Nobody sends again here, and a broker drops beyond a thousand that wait: PUBACK is not delivery.
        while places(link) and sent < count and sent - worker.loop.committed < 600:
            sent += 1
            # Small ones, without sketches.
            link.publish(Channel.SUMMARY, encode_summary(summary("s1", sent)))
            plant.produced.add("s1", "b1", sent, 11)
        link.poll(0.05)
    deadline = time.monotonic() + 120
    while worker.loop.committed < count and time.monotonic() < deadline:
        link.poll(0.2)
    link.close(5.0)
    assert plant.to_stations.accepted == 1 and plant.to_cloud.accepted == 1
    plant.cloud.balance(plant.produced).assert_exact()
