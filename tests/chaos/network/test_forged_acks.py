"""Acknowledgements that the cloud never sent.

A station deletes what an acknowledgement on its own topic names. What keeps others from writing there is the broker's access
control (`firmware_config/mosquitto`), which an open broker has not; these tests say what holds even there.
"""

from __future__ import annotations

from collections.abc import Iterator

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from contract.codec import encode_control
from contract.messages import Ack
from contract.topics import Channel, topic
from tests.chaos.mqtt_framer import Kind
from tests.chaos.network.plant import Plant
from tests.chaos.waiting import wait_for

_ALL = ((0, 1 << 40),)


class Forger:
    """Whoever may publish anything."""

    def __init__(self, port: int) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def say(self, to: str, ack: Ack) -> None:
        self._client.publish(topic(to, Channel.ACK), encode_control(ack), qos=1).wait_for_publish(60)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def forger(plant: Plant) -> Iterator[Forger]:
    plant.begin(resend_after_s=0.5)
    made = Forger(plant.broker.port)
    yield made
    made.close()


def acks_seen(plant: Plant) -> int:
    return plant.to_stations.down.passed[Kind.PUBLISH]


def test_an_acknowledgement_for_another_station_or_boot_deletes_nothing(plant: Plant, forger: Forger) -> None:
    station = plant.stations[0]
    plant.cloud.stop()
    station.produce(5)
    before = acks_seen(plant)
    forger.say(station.name, Ack("s2", station.boot, _ALL, 100))
    forger.say(station.name, Ack(station.name, "another", _ALL, 100))
    forger.say("s2", Ack("s2", station.boot, _ALL, 100))
    wait_for(lambda: acks_seen(plant) - before == 2)
    plant.cloud.start()
    assert plant.settle().whole == 5


def test_an_acknowledgement_of_what_was_never_sent_deletes_nothing(plant: Plant, forger: Forger) -> None:
    station = plant.stations[0]
    before = acks_seen(plant)
    forger.say(station.name, Ack(station.name, station.boot, _ALL, 100))
    wait_for(lambda: acks_seen(plant) > before)
    station.produce(5)
    assert plant.settle().whole == 5


def test_a_forged_credit_of_nothing_or_of_everything_loses_nothing(plant: Plant, forger: Forger) -> None:
    station = plant.stations[0]
    for credit in (0, 1 << 60, 0):
        before = acks_seen(plant)
        forger.say(station.name, Ack(station.name, station.boot, (), credit))
        wait_for(lambda before=before: acks_seen(plant) > before)
        station.produce(10)
        plant.settle()


def test_on_an_open_broker_a_forger_can_have_what_was_sent_deleted_and_the_ledger_shows_it(
    plant: Plant, forger: Forger
) -> None:
    """Why production has access control: nothing in an acknowledgement proves that it is the cloud's."""
    station = plant.stations[0]
    plant.cloud.stop()
    plant.to_cloud.half_open()
    station.produce(5)
    wait_for(lambda: plant.to_stations.down.passed[Kind.PUBACK] >= 6)
    forger.say(station.name, Ack(station.name, station.boot, ((1, 2),), 100))
    wait_for(lambda: station.waiting() == 3)
    balance = plant.cloud.balance(plant.produced)
    assert len(balance.lost) == 5 and station.waiting() == 3
    # The broker holds the two still: a forger who is quick loses them only with the broker's queue.
    plant.to_cloud.heal()
    plant.cloud.start()
    plant.settle()
