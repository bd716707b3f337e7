"""kill -9 of an ingest worker at every step between receiving and acknowledging, under load, on both databases."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.ingest_worker import WORKER_POINTS
from tests.chaos.plant import Plant, wait_until
from tests.chaos.postgres_process import Postgres
from tests.fixtures_broker import Broker


@pytest.fixture(params=["sqlite", "postgresql"])
def plant(request: pytest.FixtureRequest, tmp_path: Path, broker: Broker) -> Iterator[Plant]:
    database = request.getfixturevalue("postgres").url() if request.param == "postgresql" else ""
    made = Plant(tmp_path, broker.port, database)
    yield made
    made.close()


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    yield server
    server.close()


def test_a_worker_killed_at_each_step_loses_nothing_and_stores_nothing_twice(plant: Plant) -> None:
    stations = [plant.station(name, rate=10.0, count=10) for name in ("s1", "s2")]
    for station in stations:
        station.start(stay=True)
    for point in WORKER_POINTS:
        # What makes sure that there is something to die over: whoever has nothing unacknowledged is told to make more.
        worker = plant.worker()
        worker.start(kill_at=point)
        _feed(plant, worker)
        assert worker.wait() == -signal.SIGKILL, f"{point}: {worker.said()[-2000:]}"
    plant.worker().start()
    for station in stations:
        assert station.end(signal.SIGTERM) == 0
        station.start()
    for station in stations:
        assert station.wait() == 0, station.said()[-2000:]
    assert plant.check() >= 20


def _feed(plant: Plant, worker: object) -> None:
    """Nothing yet."""


_ = wait_until
