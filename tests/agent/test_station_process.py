"""The station as its own process, with a real broker and real SQLite, killed as a power cut would (P1)."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from contract.codec import decode_control, decode_summary, encode_control
from contract.messages import Ack, Command, CommandResult, DesiredState, StationState, Summary
from contract.topics import Channel, topic
from tests.fixtures_broker import Broker, start_broker
from tests.tiny_bundle import write_bundle

STATION = "s1"


class Collector:
    """Plays the aggregator: keeps each (boot, seq) once and acknowledges it, as long as `acking`."""

    def __init__(self, port: int) -> None:
        self.summaries: dict[tuple[str, int], Summary] = {}
        self.deliveries = 0
        self.states: list[StationState] = []
        self.results: list[CommandResult] = []
        self.acking = True
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="collector", protocol=paho.MQTTv5)
        self.client.on_connect = lambda client, *_: client.subscribe("pl/v1/d/+/up/#", qos=1)
        self.client.on_message = self._take
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port, clean_start=False)
        self.client.loop_start()

    def _take(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("up/state"):
            self.states.append(decode_control(message.payload, StationState))
        elif message.topic.endswith("up/res"):
            self.results.append(decode_control(message.payload, CommandResult))
        elif message.topic.endswith("up/sum"):
            summary = decode_summary(message.payload)
            header = summary.header
            self.deliveries += 1
            if not self.acking:
                return
            known = self.summaries.setdefault((header.boot, header.seq), summary)
            assert known.accounting == summary.accounting, "one name, two contents"
            ack = Ack(header.station, header.boot, ((header.seq, header.seq),), 100)
            client.publish(topic(header.station, Channel.ACK), encode_control(ack), qos=0)

    @property
    def captured(self) -> int:
        return sum(summary.accounting.captured for summary in self.summaries.values())

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Station:
    """`plumbline-agent run` on a config in `folder`."""

    def __init__(self, folder: Path, port: int, extra: str = "") -> None:
        self.folder = folder
        self.config = folder / "agent.toml"
        write_bundle(folder / "tiny.plb", pass_at=0.5)
        self.config.write_text(
            f'station = "{STATION}"\nhome = "state"\n[source]\nfps = 200.0\nheight = 32\nwidth = 32\n'
            "[windows]\nframes = 60\nseconds = 1.0\n[enrol]\nframes = 10\n[line]\ndeadline_ms = 5000.0\n"
            f'[broker]\nport = {port}\nresend_after_s = 1.0\nreconnect_max_s = 0.5\n[bundle]\npath = "tiny.plb"\n{extra}'
        )
        self.log = (folder / "agent.log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            (sys.executable, "-m", "agent", "run", "--config", str(self.config)), stderr=self.log, stdout=self.log
        )

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process = None
        return code

    def status(self) -> dict[str, Any]:
        shown = subprocess.run(
            (sys.executable, "-m", "agent", "status", "--config", str(self.config), "--json"),
            capture_output=True,
            check=True,
        )
        found: dict[str, Any] = json.loads(shown.stdout)
        return found

    def rows(self, *, of_the_open_window: bool = False) -> int:
        path = self.folder / "state/agent.sqlite"
        if not path.exists():
            return 0
        connection = sqlite3.connect(path)
        try:
            closed = "(SELECT COALESCE(MAX(CAST(value AS INTEGER)), 0) FROM memory WHERE name = 'closed_window')"
            where = f"WHERE window > {closed}" if of_the_open_window else ""
            return int(connection.execute(f"SELECT COUNT(*) FROM results {where}").fetchone()[0])
        except sqlite3.OperationalError:
            return 0
        finally:
            connection.close()

    def said(self) -> str:
        return (self.folder / "agent.log").read_text()

    def close(self) -> None:
        if self.process is not None:
            self.end(signal.SIGKILL)
        self.log.close()


def wait_for(what: Callable[[], bool], within_s: float = 20.0) -> None:
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.05)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = start_broker(tmp_path / "broker")
    yield broker
    broker.kill()


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
    assert station.end(signal.SIGTERM) == 0
    wait_for(lambda: collector.captured == station.rows())
    status = station.status()
    assert (status["outbox"], status["captured"], status["running"]) == (0, station.rows(), False)
    assert status["enrolled_frames"] == 10
    assert status["acked_at"] > 0
    assert [state.online for state in collector.states] == [True, False]
    assert all(summary.accounting.closes() for summary in collector.summaries.values())
    assert "SIMULATED" in station.said()


def test_kill_9_then_restart_accounts_for_every_recorded_frame_once(station: Station, collector: Collector) -> None:
    for _ in range(3):
        rows = station.rows()
        station.start()
        wait_for(lambda before=rows: station.rows() > before + 60 and station.rows(of_the_open_window=True) > 0)
        station.end(signal.SIGKILL)
    rows = station.rows()
    station.start()
    wait_for(lambda: station.rows() > rows)
    assert station.said().count("recovered") == 3
    assert station.end(signal.SIGTERM) == 0
    wait_for(lambda: collector.captured >= station.rows())
    assert collector.captured == station.rows()
    assert all(summary.accounting.closes() for summary in collector.summaries.values())
    assert len({boot for boot, _ in collector.summaries}) == 1
    recovered = [summary for summary in collector.summaries.values() if summary.window is None]
    assert recovered
    assert all(summary.note == "recovered after a crash" for summary in recovered)


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
    assert station.end(signal.SIGTERM) == 0
    wait_for(lambda: collector.captured == station.rows())


def test_what_is_not_acknowledged_stays_in_the_outbox_and_is_sent_again(station: Station, collector: Collector) -> None:
    collector.acking = False
    station.start()
    wait_for(lambda: collector.deliveries > 10)
    assert station.status()["outbox"] > 0
    assert collector.captured == 0
    collector.acking = True
    wait_for(lambda: collector.captured > 100)
    assert station.end(signal.SIGTERM) == 0
    wait_for(lambda: collector.captured == station.rows())


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
