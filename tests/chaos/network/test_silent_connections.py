"""Half-open connections, partitions one way and lines of one byte a second: the uplink notices, and nothing is lost."""

from __future__ import annotations

import pytest

from tests.chaos.mqtt_framer import Kind
from tests.chaos.network.plant import Plant
from tests.chaos.waiting import wait_for


def test_a_station_notices_a_half_open_connection_and_comes_back(plant: Plant) -> None:
    station = plant.begin()
    station.produce(3)
    wait_for(lambda: plant.cloud.balance(plant.produced).whole == 3)
    plant.to_stations.half_open()
    station.produce(3)
    # Its socket stays open: only the keepalive can tell.
    wait_for(lambda: not station.connected())
    assert plant.to_stations.open_connections >= 1
    plant.to_stations.heal()
    station.produce(3)
    plant.settle()


@pytest.mark.long
def test_a_worker_notices_a_half_open_connection_and_comes_back(plant: Plant) -> None:
    station = plant.begin()
    worker = plant.cloud.worker
    assert worker is not None
    plant.to_cloud.half_open()
    station.produce(6)
    wait_for(lambda: not worker.link.connected())
    plant.to_cloud.heal()
    plant.settle()
    assert worker.link.connections() >= 2


@pytest.mark.long
@pytest.mark.parametrize("side", ["to_stations", "to_cloud"])
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_partition_one_way_loses_and_doubles_nothing(plant: Plant, side: str, way: str) -> None:
    station = plant.begin()
    proxy = getattr(plant, side)
    accepted = proxy.accepted
    getattr(proxy, way).hold()
    station.produce(5)
    # Whoever hears nothing says so by a new connection.
    wait_for(lambda: proxy.accepted > accepted)
    proxy.heal()
    station.produce(5)
    plant.settle()


@pytest.mark.parametrize("side", ["to_stations", "to_cloud"])
def test_a_short_silence_that_nobody_notices_is_made_up_for(plant: Plant, side: str) -> None:
    station = plant.begin(keepalive_s=30)
    proxy = getattr(plant, side)
    proxy.down.hold()
    station.produce(5)
    wait_for(lambda: proxy.up.passed[Kind.PUBLISH] > 0)
    proxy.heal()
    plant.settle()


@pytest.mark.long
def test_a_line_of_one_byte_a_second_holds_up_and_loses_nothing(plant: Plant) -> None:
    station = plant.begin(stations=2)
    slow = plant.to_stations
    slow.up.throttle(1.0)
    station.produce(4)
    # The keepalive gives the crawling connection up, and the next ones too: a CONNECT alone takes minutes.
    accepted = slow.accepted
    wait_for(lambda: slow.accepted > accepted + 1)
    assert len(plant.cloud.balance(plant.produced).lost) == 4
    slow.heal()
    plant.settle()


def test_acknowledgements_that_crawl_cost_resending_and_nothing_else(plant: Plant) -> None:
    station = plant.begin(keepalive_s=30, resend_after_s=1.0)
    plant.to_stations.down.throttle(1.0)
    station.produce(4)
    wait_for(lambda: plant.cloud.balance(plant.produced).whole == 4)
    assert station.waiting() == 4
    plant.to_stations.heal()
    plant.settle()
