"""Two devices with one home: a folder that was copied, a disk that was imaged, a backup put back. Both go on, nothing is lost."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.chaos.process_plant import Plant, Process, wait_until
from tests.chaos.produced import DATABASE, LEDGER, outbox_depth

_GOES_ON = 8


@pytest.mark.parametrize(
    "imaged",
    [
        pytest.param(False, id="folder copied", marks=pytest.mark.long),
        pytest.param(True, id="disk imaged", marks=pytest.mark.long),
    ],
)
def test_a_station_and_its_clone_that_run_at_the_same_time_lose_nothing(plant: Plant, imaged: bool) -> None:
    first = _with_a_backlog(plant)
    clone = _copy(plant, imaged=imaged)
    plant.worker().start()
    for station in (first, clone):
        station.start(stay=True, count=1_000_000)
    for home in plant.homes:
        _goes_on(home)
    for station in (first, clone):
        assert station.end(signal.SIGTERM) == 0
    # One after the other: while both are there, each takes the other's connection.
    plant.drain(first)
    plant.drain(clone)
    plant.check(names_too=False, clones=True)


@pytest.mark.long
def test_a_station_put_back_from_an_image_of_its_disk_loses_nothing_of_what_it_makes_from_then_on(plant: Plant) -> None:
    first = _with_a_backlog(plant)
    restored = _copy(plant, imaged=True)
    plant.worker().start()
    first.start(stay=True, count=1_000_000)
    _goes_on(plant.homes[0])
    plant.drain(first)
    restored.start(stay=True, count=1_000_000)
    _goes_on(plant.homes[1])
    plant.drain(restored)
    plant.check(names_too=False, clones=True)


def _with_a_backlog(plant: Plant) -> Process:
    station = plant.station("s1", rate=40.0, count=4)
    station.start(stay=True)
    wait_until(lambda: outbox_depth(plant.homes[0]) >= 4)
    assert station.end(signal.SIGTERM) == 0
    return station


def _copy(plant: Plant, *, imaged: bool) -> Process:
    """Return the station's clone, its home copied; an image of the disk keeps what else tells a copy from the original."""
    home, copy = plant.homes[0], plant.folder / "copy"
    shutil.copytree(home, copy)
    (copy / LEDGER).unlink()  # what was made before is the original's to tell
    if imaged:
        here = (copy / DATABASE).stat().st_ino
        connection = sqlite3.connect(copy / DATABASE, isolation_level=None)
        (kept,) = connection.execute("SELECT value FROM memory WHERE name = 'home'").fetchone()
        value = f"{kept.rpartition(':')[0]}:{here}"
        connection.execute("UPDATE memory SET value = ? WHERE name = 'home'", (value,))
        connection.close()
    return plant.station("s1", rate=40.0, home=copy)


def _goes_on(home: Path) -> None:
    begun = _made(home)
    wait_until(lambda: _made(home) >= begun + _GOES_ON)


def _made(home: Path) -> int:
    return len((home / LEDGER).read_text().splitlines()) if (home / LEDGER).exists() else 0
