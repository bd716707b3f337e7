"""A station as its own process, and a collector that plays the aggregator, over a real broker."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from contract.codec import decode_control, decode_summary, encode_control
from contract.messages import Ack, CommandResult, ReportedState, StationState, Summary
from contract.topics import Channel, topic
from tests.tiny_bundle import write_bundle

STATION = "s1"


class Collector:
    """Plays the aggregator: keeps each (boot, seq) once and acknowledges it, as long as `acking`. It listens once it is made."""

    def __init__(self, port: int) -> None:
        self._summaries: dict[tuple[str, int], Summary] = {}
        self.deliveries = 0
        self.states: list[StationState] = []
        self.results: list[CommandResult] = []
        self.reported: list[ReportedState] = []
        self.acking = True
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="collector", protocol=paho.MQTTv5)
        self.client.on_connect = lambda client, *_: client.subscribe("pl/v1/d/+/up/#", qos=1)
        self.client.on_message = self._take
        listens = threading.Event()
        self.client.on_subscribe = lambda *_: listens.set()
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port, clean_start=False)
        self.client.loop_start()
        # What a station says to nobody it says again: a test that counts what is said must be there from the start.
        assert listens.wait(60.0), "the broker does not answer"

    def _take(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("up/state"):
            self.states.append(decode_control(message.payload, StationState))
        elif message.topic.endswith("up/res"):
            self.results.append(decode_control(message.payload, CommandResult))
        elif message.topic.endswith("up/rep"):
            self.reported.append(decode_control(message.payload, ReportedState))
        elif message.topic.endswith("up/sum"):
            summary = decode_summary(message.payload)
            header = summary.header
            self.deliveries += 1
            if not self.acking:
                return
            known = self._summaries.setdefault((header.boot, header.seq), summary)
            assert known.accounting == summary.accounting, "one name, two contents"
            ack = Ack(header.station, header.boot, ((header.seq, header.seq),), 100)
            client.publish(topic(header.station, Channel.ACK), encode_control(ack), qos=0)

    @property
    def summaries(self) -> dict[tuple[str, int], Summary]:
        """What came so far: a copy, for the network's thread goes on."""
        return dict(self._summaries)

    @property
    def captured(self) -> int:
        return sum(summary.accounting.captured for summary in self.summaries.values())

    @property
    def decided(self) -> int:
        return sum(summary.accounting.decided for summary in self.summaries.values())

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Station:
    """`plumbline-agent run` on a config in `folder`."""

    def __init__(self, folder: Path, port: int, *, provisioned: bool = True, extra: str = "") -> None:
        self.folder = folder
        self.config = folder / "agent.toml"
        if provisioned:
            write_bundle(folder / "tiny.plb", pass_at=0.5)
            extra += '[bundle]\npath = "tiny.plb"\n'
        self.config.write_text(
            f'station = "{STATION}"\nhome = "state"\n[source]\nfps = 200.0\nheight = 32\nwidth = 32\n'
            "[windows]\nframes = 60\nseconds = 1.0\n[enrol]\nframes = 10\n[line]\ndeadline_ms = 5000.0\nunfamiliar = 0.0\n"
            f"[limits]\ncommit_s = 0.1\n[broker]\nport = {port}\nresend_after_s = 1.0\nreconnect_max_s = 0.5\n{extra}"
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
        code = self.process.wait(90)
        self.process = None
        return code

    def end_with_all_told(self, start: Callable[[], None] | None = None) -> int:
        """Stop it in good order until its outbox is empty; return how often it was stopped for that.

        Once is enough but where the broker or the collector was not run for the two seconds that a station waits as it leaves: it
        then keeps what was not acknowledged, and sends it when it is started again. `start`: how this one is.
        """
        for times in range(1, 20):
            assert self.end(signal.SIGTERM) == 0
            if not self.status()["outbox"]:
                return times
            rows = self.rows()
            (start or self.start)()
            wait_for(lambda rows=rows: self.rows() > rows)  # type: ignore[misc]
        raise AssertionError("it never told all that it had")

    def kill_when(self, what: Callable[[], bool]) -> None:
        """Kill it as a power cut would, at a moment when `what` holds: it stands still while that is looked at."""
        assert self.process is not None
        until = time.monotonic() + 90.0
        while True:
            self.process.send_signal(signal.SIGSTOP)
            if what():
                break
            self.process.send_signal(signal.SIGCONT)
            assert time.monotonic() < until, "it never came to be"
            time.sleep(0.05)
        self.end(signal.SIGKILL)

    def kill_in_a_window(self) -> None:
        """Kill it when a window is open and some of its frames are stored."""
        self.kill_when(lambda: self.rows(of_the_open_window=True) > 0)

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
            where = f"WHERE camera = '' AND window > {closed}" if of_the_open_window else ""
            return int(connection.execute(f"SELECT COUNT(*) FROM results {where}").fetchone()[0])
        except sqlite3.OperationalError:
            return 0
        finally:
            connection.close()

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT on the station's database; none while it has none."""
        path = self.folder / "state/agent.sqlite"
        if not path.exists():
            return []
        connection = sqlite3.connect(path, timeout=10.0)
        try:
            return connection.execute(statement).fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            connection.close()

    def last_id(self) -> int:
        """Return the id of the newest result, 0 for none."""
        rows = self.query("SELECT COALESCE(MAX(id), 0) FROM results")
        return int(rows[0][0]) if rows else 0

    def command(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `plumbline-agent NAME --config ... ARGUMENTS`."""
        return subprocess.run(
            (sys.executable, "-m", "agent", name, "--config", str(self.config), *arguments),
            capture_output=True,
            text=True,
            check=False,
        )

    def said(self) -> str:
        return (self.folder / "agent.log").read_text()

    def close(self) -> None:
        if self.process is not None:
            self.end(signal.SIGKILL)
        self.log.close()


def wait_for(what: Callable[[], bool], within_s: float = 90.0) -> None:
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.05)
