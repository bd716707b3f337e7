"""Workers on one shared subscription, 1 -> 4 -> 1 under load: they join, leave politely and die, and each window is there once."""

from __future__ import annotations

import signal

import pytest

from tests.chaos.process_plant import Plant, Process, wait_until


@pytest.mark.long
def test_a_second_worker_joins_and_the_first_leaves_under_load(plant: Plant) -> None:
    _come_and_go(plant, names=("w1", "w2"), stations=2, each=8)


@pytest.mark.long
def test_workers_go_from_one_to_four_to_one_under_load(either_plant: Plant) -> None:
    _come_and_go(either_plant, names=("w1", "w2", "w3", "w4"), stations=8, each=100)


def _come_and_go(plant: Plant, *, names: tuple[str, ...], stations: int, each: int) -> None:
    made = [plant.station(f"s{number}", rate=30.0, count=1_000_000) for number in range(stations)]
    for station in made:
        station.start(stay=True)
    workers = {name: plant.worker(name) for name in names}
    goal = 0
    for worker in workers.values():
        worker.start()
        goal = _go_on(plant, goal, each)
    # Every other one is killed, and the rest leave as a rolling update has them leave.
    for number, name in enumerate(names[:-1]):
        if number % 2:
            assert workers[name].end(signal.SIGTERM) == 0, workers[name].said()[-2000:]
        else:
            assert workers[name].end(signal.SIGKILL) == -signal.SIGKILL
        goal = _go_on(plant, goal, each)
    # A session that nobody comes back to keeps what it was sent: the stations send it again, to those who are there.
    plant.drain(*made)
    assert plant.check() >= goal
    last: Process = workers[names[-1]]
    assert last.running(), last.said()[-2000:]


def _go_on(plant: Plant, goal: int, each: int) -> int:
    goal += each
    wait_until(lambda: plant.has_committed(goal))
    return goal
