"""A station process asks a real HTTP server after the verdict, tells of it over a real broker, and obeys its policy (P8)."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from contract.codec import decode_summary
from contract.messages import OpinionsNote
from tests.fakes.opinion_cloud import OpinionCloud, opinion_cloud
from tests.fixtures_broker import free_port, start_broker
from tests.station_process import Collector, Station, wait_for
from tests.tiny_bundle import write_bundle

Start = Callable[..., Station]


@pytest.fixture
def cloud() -> Iterator[OpinionCloud]:
    with opinion_cloud() as server:
        yield server


@pytest.fixture
def start(tmp_path: Path, cloud: OpinionCloud) -> Iterator[Start]:
    made: list[Station] = []

    def start(policy: str, port: int = 1, extra: str = "") -> Station:
        # Without a budget for questions in time, every one of them comes later.
        asks = "" if "fallback =" in policy else "fallback = true\nfallback_burst = 0"
        station = Station(tmp_path, port, extra=f'[cloud]\nurl = "{cloud.url}"\n[policy]\n{policy}\n{asks}\n{extra}')
        made.append(station)
        write_bundle(tmp_path / "tiny.plb", pass_at=1.0)  # whatever looks good is unsure
        station.start()
        return station

    yield start
    for station in made:
        station.close()


def opinions(station: Station, where: str = "1") -> int:
    try:
        with closing(sqlite3.connect(station.folder / "state/agent.sqlite")) as connection:
            found = connection.execute(f"SELECT COUNT(*) FROM second_opinions WHERE {where}").fetchone()
    except sqlite3.OperationalError:
        return 0
    return int(found[0])


@pytest.mark.slow
def test_kept_frames_are_asked_about_later_and_every_opinion_is_told_once(start: Start, tmp_path: Path) -> None:
    broker = start_broker(tmp_path / "broker")
    collector = Collector(broker.port)
    try:
        port = free_port()
        station = start("deferred_per_hour = 100000", broker.port, f"[api]\nport = {port}\n")
        wait_for(lambda: opinions(station, "state = 'answered' AND told = 2") > 20)
        shown = station.status()["second_opinions"]
        assert shown["would_reject"] == shown["answered"] > 20
        with closing(sqlite3.connect(station.folder / "state/agent.sqlite")) as connection:
            row = connection.execute("SELECT result FROM second_opinions WHERE state = 'answered'").fetchone()[0]
        found = httpx.get(f"http://127.0.0.1:{port}/v1/decisions/{row}", timeout=60).json()
        assert (found["verdict"], found["cause"]) == ("REVIEW", "unsure")
        assert found["second_opinion"]["verdict"] == "REJECT"
        assert station.end(signal.SIGTERM) == 0
        told = told_opinions(collector, station)
        assert sum(note.queued for note in told) == opinions(station, "told > 0")
        answered = opinions(station, "state = 'answered' AND told = 2")
        assert sum(note.answered for note in told) == sum(note.rejected for note in told) == answered
    finally:
        collector.close()
        broker.kill()


def told_opinions(collector: Collector, station: Station) -> list[OpinionsNote]:
    """Return what every summary told, delivered or still in the outbox, each once."""
    with closing(sqlite3.connect(station.folder / "state/agent.sqlite")) as connection:
        left = [decode_summary(row[0]) for row in connection.execute("SELECT payload FROM outbox")]
    every = dict(collector.summaries) | {(s.header.boot, s.header.seq): s for s in left}
    return [summary.opinions for summary in every.values() if summary.opinions]


@pytest.mark.slow
@pytest.mark.parametrize("policy", ['images_leave = "never"', "deferred = false", "fallback = false"])
def test_p8_not_one_byte_leaves_a_station_that_must_not_ask(start: Start, cloud: OpinionCloud, policy: str) -> None:
    station = start(policy)
    wait_for(lambda: station.rows() > 400)
    assert station.end(signal.SIGTERM) == 0
    assert opinions(station) == 0
    assert cloud.requests == []


@pytest.mark.slow
def test_p8_what_waited_when_the_policy_became_stricter_stays_here(
    start: Start, cloud: OpinionCloud, tmp_path: Path
) -> None:
    cloud.status = 503
    station = start("")
    wait_for(lambda: opinions(station, "state = 'waiting'") > 0 and len(cloud.requests) > 0)
    assert station.end(signal.SIGTERM) == 0
    asked, cloud.status = len(cloud.requests), 200
    stricter = start('images_leave = "never"')
    rows = stricter.rows()
    wait_for(lambda: stricter.rows() > rows + 400)
    assert stricter.end(signal.SIGTERM) == 0
    assert len(cloud.requests) == asked
    assert opinions(stricter, "state = 'waiting'") == 0
    assert opinions(stricter, "state = 'gone' AND gone = 'policy'") > 0
