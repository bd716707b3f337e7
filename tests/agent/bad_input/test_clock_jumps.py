"""The whole station under a wall clock that jumps to 1970, to 2106 and back: nothing is lost, and what was not sure is said."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.health.clock_sync import clock_synced
from cloud.registry.orders import issue_order
from contract.codec import encode_control
from contract.messages import Command, DesiredState, Probation
from contract.topics import Channel, topic
from tests.agent.test_station_update import Plant, ended, last
from tests.fixtures_broker import Broker
from tests.station_process import STATION, Collector, Station, wait_for

PROGRAM = Path(__file__).with_name("jumping_station.py")
ROOT = Path(__file__).parents[3]
YEAR_2026 = 1_767_225_600.0
YEARS_80 = 80 * 365.25 * 86_400


class Jump:
    """Sets the wall clock of a station, which is started by `start`."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._offset = station.folder / "offset"
        self.to_now()

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._station.process = subprocess.Popen(
            (sys.executable, str(PROGRAM), str(self._station.config), str(self._offset)),
            stderr=self._station.log,
            stdout=self._station.log,
            env=environment,
        )

    def by(self, seconds: float) -> None:
        temporary = self._offset.with_suffix(".tmp")
        temporary.write_text(repr(seconds))
        temporary.replace(self._offset)

    def to_1970(self) -> None:
        self.by(-time.time() + 3.0)

    def to_now(self) -> None:
        self.by(0.0)


@pytest.fixture
def collector(broker: Broker) -> Iterator[Collector]:
    collector = Collector(broker.port)
    yield collector
    collector.close()


@pytest.mark.slow
def test_results_summaries_samples_and_commands_survive_a_clock_that_jumps(
    tmp_path: Path, broker: Broker, collector: Collector
) -> None:
    station = Station(tmp_path, broker.port)
    clock = Jump(station)
    ids = iter(range(1000))

    def command(expires_at: float) -> str:
        asked = Command(f"c{next(ids)}", STATION, "re_enrol", expires_at)
        collector.client.publish(topic(STATION, Channel.COMMAND), encode_control(asked), qos=1)
        return asked.id

    def answered(asked: str) -> bool:
        return any(result.id == asked for result in collector.results)

    def more(frames: int) -> None:
        before = collector.captured
        wait_for(lambda: collector.captured > before + frames)

    try:
        clock.start()
        more(100)
        clock.to_1970()
        more(300)
        # What was asked for a minute from now has not expired in 1970.
        asked = command(time.time() + 60)
        wait_for(lambda: answered(asked))
        clock.by(YEARS_80)
        more(300)
        late = command(time.time() + 60)
        wait_for(lambda: "came after its time" in station.said())
        clock.to_now()
        more(300)
        asked = command(time.time() + 60)
        wait_for(lambda: answered(asked))
        assert not answered(late)
        station.end_with_all_told(clock.start)
        wait_for(lambda: collector.decided == station.rows())
    finally:
        station.close()
    told = list(collector.summaries.values())
    assert all(summary.accounting.closes() for summary in told)
    assert sum(summary.accounting.decided for summary in told) == station.rows()
    headers = [summary.header for summary in told]
    assert all(0.0 <= h.ended_at - h.started_at < 60.0 for h in headers), "a window lasts as long as it lasted"
    assert not any(h.clock_synced for h in headers if h.started_at < YEAR_2026)
    believed = [h for h in headers if h.clock_synced]
    assert bool(believed) is clock_synced(time.time())
    eras = {("1970" if h.started_at < YEAR_2026 else "now" if h.started_at < 3e9 else "2106") for h in headers}
    assert eras == {"1970", "now", "2106"}
    assert sorted(h.seq for h in headers) == list(range(1, len(headers) + 1))
    with sqlite3.connect(station.folder / "state/agent.sqlite") as connection:
        shortest, longest = connection.execute("SELECT MIN(latency_ms), MAX(latency_ms) FROM results").fetchone()
        kept = [row[0] for row in connection.execute("SELECT sample FROM samples")]
        last_id, first_id, count = connection.execute("SELECT MAX(id), MIN(id), COUNT(*) FROM results").fetchone()
    connection.close()
    assert 0.0 <= shortest <= longest < 60_000.0, "latency is no matter of the wall clock"
    assert count == last_id - first_id + 1
    assert kept and all((station.folder / f"state/samples/{name}.png").is_file() for name in kept)
    assert "Traceback" not in station.said()
    assert station.status()["captured"] == station.rows()


@pytest.mark.slow
def test_a_station_that_boots_in_1970_and_learns_the_time_later_tells_no_window_of_fifty_years(
    tmp_path: Path, broker: Broker, collector: Collector
) -> None:
    station = Station(tmp_path, broker.port)
    clock = Jump(station)
    try:
        clock.to_1970()
        clock.start()
        wait_for(lambda: collector.captured > 100)
        station.kill_in_a_window()
        clock.start()
        wait_for(lambda: station.said().count("recovered") == 1)
        clock.to_now()
        before = collector.captured
        wait_for(lambda: collector.captured > before + 200)
        station.end_with_all_told(clock.start)
        wait_for(lambda: collector.decided == station.rows())
    finally:
        station.close()
    headers = [summary.header for summary in collector.summaries.values()]
    assert all(0.0 <= h.ended_at - h.started_at < 60.0 for h in headers)
    assert len({h.boot for h in headers}) == 1


@pytest.mark.slow
def test_a_clock_in_1970_revives_no_expired_order_and_one_in_2106_only_delays_a_good_one(
    tmp_path: Path, broker: Broker, collector: Collector
) -> None:
    plant = Plant(tmp_path, broker.port)
    clock = Jump(plant.station)

    def order(digest: str, size: int, deployment: str, seq: int, issued_at: float) -> None:
        envelope = issue_order(
            plant.keys,
            station=STATION,
            bundle=digest,
            size_bytes=size,
            deployment=deployment,
            desired_seq=seq,
            probation=Probation(frames=30, min_agreement=0.0, timeout_s=30.0),
            now=issued_at,
            lifetime_s=3600.0,
        )
        desired = encode_control(DesiredState(STATION, envelope))
        collector.client.publish(topic(STATION, Channel.DESIRED), desired, qos=1, retain=True)

    def refused(deployment_still: str, times: int) -> bool:
        state = collector.reported[-1] if collector.reported else None
        said = [s for s in collector.reported if "expired" in s.reason]
        return state is not None and state.deployment == deployment_still and len(said) >= times

    try:
        clock.start()
        first, second = plant.release("v1", gain=20.0), plant.release("v2", gain=21.0)
        order(first.digest, first.size_bytes, "d1", 1, time.time())
        wait_for(lambda: ended(collector, "d1"))
        clock.to_1970()
        # Genuine, newer, and expired a day before the last order was issued: in 1970 it would still be good for 56 years.
        order(second.digest, second.size_bytes, "old", 2, time.time() - 86_400)
        wait_for(lambda: refused("d1", 1))
        assert last(collector, "old") is None
        clock.by(YEARS_80)
        order(second.digest, second.size_bytes, "d2", 3, time.time())
        wait_for(lambda: refused("d1", 2))
        clock.to_now()
        order(second.digest, second.size_bytes, "d2", 3, time.time())
        wait_for(lambda: ended(collector, "d2"))
        state = last(collector, "d2")
        assert state is not None and (state.update_state, state.bundle) == ("COMMITTED", second.digest), state
        # The floors hold the time of the orders, not that of a clock that was wrong: in 1970, a good order is followed.
        clock.to_1970()
        third = plant.release("v3", gain=22.0)
        order(third.digest, third.size_bytes, "d3", 4, time.time())
        wait_for(lambda: ended(collector, "d3"))
        state = last(collector, "d3")
        assert state is not None and state.update_state == "COMMITTED", state
        plant.station.end_with_all_told(clock.start)
        wait_for(lambda: collector.decided == plant.station.rows())
    finally:
        plant.close()
