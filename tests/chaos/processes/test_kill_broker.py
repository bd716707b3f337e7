"""kill -9 of the broker while a station stands still at each step between produce and delete: its sessions and queues are gone."""

from __future__ import annotations

import signal

import pytest

from tests.chaos.kill_points import STATION_POINTS
from tests.chaos.process_plant import Plant, wait_until
from tests.fixtures_broker import Broker

# Steps within the station alone are those of `test_kill_station`: here something is on its way, or about to be.
_SHORT = ("published", "puback", "in-delete")


@pytest.mark.parametrize(
    "points", [pytest.param(_SHORT, id="short"), pytest.param(STATION_POINTS, id="all", marks=pytest.mark.long)]
)
def test_a_broker_killed_at_each_step_of_a_station_loses_nothing_for_good(
    plant: Plant, broker: Broker, points: tuple[str, ...]
) -> None:
    plant.worker().start()
    stations = {point: plant.station(f"s-{point}", rate=40.0, count=6) for point in points}
    for point, station in stations.items():
        station.start(stop_at=point)
    for station in stations.values():
        wait_until(station.stopped)
        broker.kill()
        broker.start()
        station.send(signal.SIGCONT)
    for station in stations.values():
        assert station.wait() == 0, station.said()[-2000:]
    assert plant.check() == 6 * len(points)
