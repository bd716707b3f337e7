"""kill -9 of an ingest worker at every step between receiving and acknowledging, under load, on both databases."""

from __future__ import annotations

import signal

import pytest

from tests.chaos.ingest_worker import WORKER_POINTS
from tests.chaos.process_plant import Plant


def test_a_worker_killed_at_each_step_loses_nothing_and_stores_nothing_twice(plant: Plant) -> None:
    _kill_workers(plant, stations=2, times=(1,))


@pytest.mark.long
def test_workers_killed_again_and_again_at_each_step_lose_nothing_and_store_nothing_twice(either_plant: Plant) -> None:
    _kill_workers(either_plant, stations=8, times=(1, 2, 5, 11))


def _kill_workers(plant: Plant, *, stations: int, times: tuple[int, ...]) -> None:
    made = [plant.station(f"s{number}", rate=20.0, count=1_000_000) for number in range(stations)]
    for station in made:
        station.start(stay=True)
    for time in times:
        for point in WORKER_POINTS:
            worker = plant.worker()
            worker.start(kill_at=f"{point}:{time}")
            assert worker.wait() == -signal.SIGKILL, f"{point}: {worker.said()[-2000:]}"
    plant.worker().start()
    plant.drain(*made)
    assert plant.check() >= 10
