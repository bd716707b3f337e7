"""The station as its own process, with a real broker and real SQLite, killed as a power cut would (P1)."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.health.board import board
from contract.codec import encode_control
from contract.messages import Command, CommandResult, DesiredState
from contract.topics import Channel, topic
from tests.fixtures_broker import Broker
from tests.station_process import STATION, Collector, Station, wait_for


@pytest.fixture
def collector(broker: Broker) -> Iterator[Collector]:
    collector = Collector(broker.port)
    yield collector
    collector.close()


@pytest.fixture
def station(tmp_path: Path, broker: Broker) -> Iterator[Station]:
    station = Station(tmp_path, broker.port)
    yield station
    station.close()


def test_sigterm_ships_the_open_window_and_says_goodbye(station: Station, collector: Collector) -> None:
    station.start()
    wait_for(lambda: station.rows() > 70)
    runs = station.end_with_all_told()
    wait_for(lambda: collector.decided == station.rows())
    status = station.status()
    assert (status["outbox"], status["captured"], status["running"]) == (0, station.rows(), False)
    assert status["enrolled_frames"] == 10
    assert status["acked_at"] > 0
    wait_for(lambda: len(collector.states) == 2 * runs)
    assert [state.online for state in collector.states] == [True, False] * runs
    assert all(summary.accounting.closes() for summary in collector.summaries.values())
    assert "SIMULATED" in station.said()
    assert {state.board for state in collector.states} == {board()}
    health = [summary.health for summary in collector.summaries.values()]
    assert all(note is not None and 20.0 < note.memory_mib < 2000.0 and note.disk_free_mib > 0 for note in health)


@pytest.mark.slow
def test_kill_9_then_restart_accounts_for_every_recorded_frame_once(station: Station, collector: Collector) -> None:
    for _ in range(3):
        rows = station.rows()
        station.start()
        wait_for(lambda before=rows: station.rows() > before + 60)
        station.kill_in_a_window()
    rows = station.rows()
    station.start()
    wait_for(lambda: station.rows() > rows)
    assert station.said().count("recovered") == 3
    station.end_with_all_told()
    wait_for(lambda: collector.decided >= station.rows())
    assert collector.decided == station.rows()
    assert all(summary.accounting.closes() for summary in collector.summaries.values())
    assert len({boot for boot, _ in collector.summaries}) == 1
    recovered = [summary for summary in collector.summaries.values() if summary.window is None]
    assert recovered
    assert all(summary.note.startswith("recovered after a crash") for summary in recovered)


@pytest.mark.slow
def test_a_broker_killed_and_restarted_loses_nothing_and_doubles_nothing(
    station: Station, collector: Collector, broker: Broker
) -> None:
    station.start()
    wait_for(lambda: collector.captured > 40)
    broker.kill()
    rows = station.rows()
    wait_for(lambda: station.rows() > rows + 100)
    broker.start()
    shipped = collector.captured
    wait_for(lambda: collector.captured > shipped + 100)
    station.end_with_all_told()
    wait_for(lambda: collector.decided == station.rows())


@pytest.mark.slow
def test_what_is_not_acknowledged_stays_in_the_outbox_and_is_sent_again(station: Station, collector: Collector) -> None:
    collector.acking = False
    station.start()
    wait_for(lambda: collector.deliveries > 10)
    assert station.status()["outbox"] > 0
    assert collector.captured == 0
    collector.acking = True
    wait_for(lambda: collector.captured > 100)
    station.end_with_all_told()
    wait_for(lambda: collector.decided == station.rows())


def test_a_repeated_command_gets_its_first_answer(station: Station, collector: Collector) -> None:
    station.start()
    wait_for(lambda: station.rows() > 20)
    command = Command("c1", STATION, "re_enrol", time.time() + 60)
    for _ in range(2):
        collector.client.publish(topic(STATION, Channel.COMMAND), encode_control(command), qos=1)
    wait_for(lambda: len(collector.results) == 2)
    assert collector.results == [CommandResult("c1", STATION, True, "enrolling anew")] * 2
    wait_for(lambda: station.said().count("enrolled on 10 frames") == 2)
    assert station.said().count("enrolling anew") == 1


def test_garbage_from_the_broker_is_counted_and_survived(station: Station, collector: Collector) -> None:
    station.start()
    wait_for(lambda: collector.captured > 0)
    for channel in (Channel.ACK, Channel.COMMAND, Channel.DESIRED):
        collector.client.publish(topic(STATION, channel), b"\xff not ours", qos=1)
    collector.client.publish(topic(STATION, Channel.DESIRED), encode_control(DesiredState("other", "")), qos=1)
    wait_for(lambda: "are no Ack" in station.said())
    shipped = collector.captured
    wait_for(lambda: collector.captured > shipped)
    assert station.end(signal.SIGTERM) == 0


def test_a_second_agent_on_the_same_home_is_refused(station: Station) -> None:
    station.start()
    wait_for(lambda: station.rows() > 0)
    second = subprocess.run(
        (sys.executable, "-m", "agent", "run", "--config", str(station.config)), capture_output=True, check=False
    )
    assert second.returncode == 2
    assert b"another agent is running" in second.stderr
    assert b"Traceback" not in second.stderr
