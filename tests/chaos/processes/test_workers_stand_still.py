"""SIGSTOP of station, worker and broker for longer than anybody waits, then SIGCONT: each finds its way back by itself."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.chaos.process_plant import Plant, Process, child_pid, wait_until
from tests.chaos.produced import outbox_depth

# Keepalive is 15 s on both sides, and the broker gives half as much again.
_LONGER_THAN_KEEPALIVE_S = 40.0


@pytest.mark.long
@pytest.mark.parametrize("who", ["station", "worker", "broker"])
def test_whoever_stood_still_for_longer_than_the_keepalive_goes_on_and_nothing_is_lost(plant: Plant, who: str) -> None:
    worker, station, other = plant.worker(), _station(plant, "s1"), _station(plant, "s2")
    worker.start()
    wait_until(lambda: plant.has_committed(20))
    pid = {"station": station.pid, "worker": worker.pid, "broker": child_pid("mosquitto", str(plant.folder))}[who]
    _stand_still(pid)
    plant.drain(station, other)
    assert plant.check() > 20
    assert worker.running(), worker.said()[-2000:]


@pytest.mark.long
def test_a_worker_that_stands_still_holds_its_messages_and_commits_them_once_when_it_goes_on(plant: Plant) -> None:
    worker, station = plant.worker(), _station(plant, "s1")
    worker.start()
    wait_until(lambda: plant.has_committed(3))
    worker.send(signal.SIGSTOP)
    home = plant.homes[0]
    wait_until(lambda: outbox_depth(home) > 60)  # more than two seconds: each was sent more than once
    worker.send(signal.SIGCONT)
    plant.drain(station)
    assert plant.check() > 60
    assert worker.running(), worker.said()[-2000:]


def _station(plant: Plant, name: str) -> Process:
    station = plant.station(name, rate=30.0, count=1_000_000)
    station.start(stay=True)
    return station


def _stand_still(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(_LONGER_THAN_KEEPALIVE_S)  # how long it lasts is the test
    os.kill(pid, signal.SIGCONT)
