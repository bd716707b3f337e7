"""A station that dies again and again soon after loading a bundle leaves it: dead for good is worse than the bundle before."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures_broker import Broker
from tests.station_process import Station, wait_for
from tests.tiny_bundle import write_bundle


@pytest.fixture
def station(tmp_path: Path, broker: Broker) -> Iterator[Station]:
    station = Station(tmp_path, broker.port)
    with station.config.open("a") as file:
        file.write("crash_loop = 1\n")
    yield station
    station.close()


def run_until_judging(station: Station) -> None:
    rows = station.rows()
    station.start()
    wait_for(lambda: station.rows() > rows)


@pytest.mark.slow
def test_bundle_that_kills_is_left_for_the_one_before_and_the_last_one_for_none(station: Station) -> None:
    run_until_judging(station)
    assert station.end(signal.SIGTERM) == 0
    first = station.status()["bundle"]
    write_bundle(station.folder / "tiny.plb", pass_at=0.75)
    run_until_judging(station)
    assert station.status()["bundle"] != first
    station.end(signal.SIGKILL)
    run_until_judging(station)
    assert station.status()["bundle"] == first
    assert "is left for" in station.said() and "died once within" in station.said()
    # A stop as it should be is no death: the count starts anew.
    assert station.end(signal.SIGTERM) == 0
    run_until_judging(station)
    station.end(signal.SIGKILL)
    causes = station.status()["review_causes"].get("no_model", 0)
    run_until_judging(station)
    assert "there is none before it" in station.said()
    wait_for(lambda: station.status()["review_causes"].get("no_model", 0) > causes)
    assert station.end(signal.SIGTERM) == 0
