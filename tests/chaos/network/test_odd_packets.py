"""Packets doubled, reordered, late and dropped, and acknowledgements that never come."""

from __future__ import annotations

import pytest

from tests.chaos.faults import Do, Fault
from tests.chaos.mqtt_framer import Kind
from tests.chaos.network.plant import Plant
from tests.chaos.waiting import wait_for

_MANY = 1_000_000


@pytest.mark.parametrize("do", [Do.DOUBLE, Do.SWAP])
def test_packets_doubled_or_swapped_on_the_way_to_the_broker_are_committed_once(plant: Plant, do: Do) -> None:
    station = plant.begin()
    fault = plant.to_stations.up.add(Fault(Kind.PUBLISH, do, times=20, topic_ends="up/sum"))
    station.produce(20)
    balance = plant.settle()
    assert balance.whole == 20 and fault.done == 20


@pytest.mark.parametrize("do", [Do.DOUBLE, Do.SWAP])
def test_packets_doubled_or_swapped_on_the_way_to_the_worker_are_committed_once(plant: Plant, do: Do) -> None:
    station = plant.begin()
    fault = plant.to_cloud.down.add(Fault(Kind.PUBLISH, do, times=20, topic_ends="up/sum"))
    station.produce(20)
    balance = plant.settle()
    assert balance.whole == 20 and fault.done == 20


@pytest.mark.long
@pytest.mark.parametrize("side", ["to_stations", "to_cloud"])
def test_everything_late_is_everything_there(plant: Plant, side: str) -> None:
    station = plant.begin(keepalive_s=30, resend_after_s=1.0)
    for way in (getattr(plant, side).up, getattr(plant, side).down):
        way.delay(0.7)
    station.produce(10)
    plant.settle()


@pytest.mark.long
def test_acknowledgements_of_the_cloud_that_are_lost_cost_resending_and_double_nothing(plant: Plant) -> None:
    station = plant.begin(resend_after_s=0.5)
    lost = plant.to_stations.down.add(Fault(Kind.PUBLISH, Do.DROP, times=_MANY, topic_ends="dn/ack"))
    station.produce(6)
    wait_for(lambda: lost.done >= 2)
    assert station.waiting() == 6 and plant.cloud.balance(plant.produced).whole == 6
    plant.to_stations.heal()
    plant.settle()


def test_a_summary_that_the_broker_swallowed_is_sent_again(plant: Plant) -> None:
    """It may acknowledge and deliver nothing: PUBACK is not delivery."""
    station = plant.begin(resend_after_s=0.5)
    lost = plant.to_cloud.down.add(Fault(Kind.PUBLISH, Do.DROP, first=2, times=3, topic_ends="up/sum"))
    station.produce(6)
    wait_for(lambda: lost.done == 3)
    plant.settle()


def test_doubled_acknowledgements_of_every_kind_change_nothing(plant: Plant) -> None:
    station = plant.begin()
    faults = [
        plant.to_stations.down.add(Fault(Kind.PUBACK, Do.DOUBLE, times=_MANY)),
        plant.to_stations.down.add(Fault(Kind.PUBLISH, Do.DOUBLE, times=_MANY, topic_ends="dn/ack")),
        plant.to_cloud.up.add(Fault(Kind.PUBLISH, Do.DOUBLE, times=_MANY, topic_ends="dn/ack")),
    ]
    station.produce(10)
    plant.settle()
    assert all(each.done for each in faults)


@pytest.mark.long
def test_a_broker_that_acknowledges_no_publish_for_a_while_does_not_stop_the_station_for_ever(plant: Plant) -> None:
    """20 PUBACKs that never come fill what may be in flight; pings are answered all the while."""
    station = plant.begin(resend_after_s=0.5)
    silent = plant.to_stations.down.add(Fault(Kind.PUBACK, Do.DROP, times=20))
    station.produce(25)
    wait_for(lambda: silent.done == 20)
    plant.settle(within_s=90)
