"""kill -9 of a station at every step between produce and delete: started again, nothing is lost and nothing is there twice."""

from __future__ import annotations

import pytest

from tests.chaos.kill_points import STATION_POINTS
from tests.chaos.process_plant import Plant

# One of each kind: within each transaction, and on either side of the wire.
_SHORT = ("before-commit-of-add", "after-commit-of-mark", "published", "ack", "in-delete")


@pytest.mark.parametrize(
    "points", [pytest.param(_SHORT, id="short"), pytest.param(STATION_POINTS, id="all", marks=pytest.mark.long)]
)
def test_a_station_killed_at_each_step_ships_everything_once_when_started_again(
    plant: Plant, points: tuple[str, ...]
) -> None:
    plant.worker().start()
    stations = [plant.station(f"s-{point}", rate=40.0, count=4) for point in points]
    for point, station in zip(points, stations, strict=True):
        # Acknowledgements are coalesced: there may be one for everything.
        station.start(kill_at=point if "delete" in point or point == "ack" else f"{point}:2")
    for point, station in zip(points, stations, strict=True):
        assert station.wait() == -9, f"{point} was never met: {station.said()[-2000:]}"
        station.start()
    for station in stations:
        assert station.wait() == 0, station.said()[-2000:]
    assert plant.check() >= 4 * len(points)


@pytest.mark.long
@pytest.mark.parametrize("point", STATION_POINTS)
def test_stations_killed_again_and_again_at_one_step_ship_everything_once(plant: Plant, point: str) -> None:
    plant.worker().start()
    stations = [plant.station(f"s{number}", rate=100.0, count=200) for number in range(4)]
    for round_number in (1, 3, 9):
        for station in stations:
            station.start(kill_at=f"{point}:{round_number}")
        for station in stations:
            assert station.wait() in (-9, 0), station.said()[-2000:]
    for station in stations:
        station.start()
    for station in stations:
        assert station.wait(240.0) == 0, station.said()[-2000:]
    assert plant.check() >= 800
