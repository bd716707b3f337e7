"""A station without camera and model, as its own process: real store, recorder, outbox, uplink loop and MQTT link.

It produces summaries with real sketches at a rate until it has `--count` windows behind it (restarts included), drains its outbox
and ends with 0; `--stay` keeps it running until SIGTERM. What it produced: `tests.chaos.produced`.

    python -m tests.chaos.uplink_station --home D --station S --broker-port P --rate R --count N [--kill-at POINT]
"""

from __future__ import annotations

import argparse
import random
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from agent.chores import Chores
from agent.clock import SystemClock
from agent.cloud_wiring import CloudSide
from agent.mailboxes import Inbox, ReportBox
from agent.ports.link import Incoming
from agent.ports.log import Log
from agent.ports.policy import ImagesLeave
from agent.ports.recorder import Result
from agent.ports.samples import SampleSender
from agent.settings import Settings, load_settings
from agent.store.outbox import Outbox
from agent.store.recovery import last_closed_window
from agent.store_wiring import Store
from agent.uplink.mqtt import MqttLink
from contract.messages import Accounting, Header, Summary
from contract.sketches.enrolment import DEFAULT_SEED
from contract.sketches.frame_stats import frame_stats
from contract.sketches.rolling import RollingSketch
from contract.sketches.window import FEATURES_VERSION, SketchIdentity
from contract.sketches.wire import to_wire
from contract.topics import Channel
from tests.chaos.kill_points import KillPlan, watch_database
from tests.chaos.produced import LEDGER, MARKER, LedgerFile, markers_of, next_name
from tests.fakes.agent_clock import HandClock

FRAMES = 3
BUNDLE = "b" * 64


class PlainLog:
    """Every line to stderr."""

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def fault(self, key: str, text: str) -> None:
        print(f"{key}: {text}", file=sys.stderr, flush=True)


class SetClock(SystemClock):
    """The machine's clock, set by the number of seconds in a file beside it, read at every look; no file is none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def now(self) -> float:
        return super().now() + self._set_by_s()

    def synced(self) -> bool:
        """Return what the machine would say of it."""
        return self._set_by_s() == 0.0

    def _set_by_s(self) -> float:
        try:
            return float(self._path.read_text())
        except (OSError, ValueError):
            return 0.0


class Windows:
    """Makes summaries of a few frames of noise, with real sketches."""

    def __init__(self, station: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._station = station
        self._frames = [frame_stats(rng.integers(0, 256, (40, 40), np.uint8)) for _ in range(32)]
        self._sketch = RollingSketch(SketchIdentity(FEATURES_VERSION, DEFAULT_SEED, "", "a" * 64, 6))
        self._tag = f"{station}-{random.SystemRandom().getrandbits(40):x}"

    def summary(
        self, number: int, now: float, monotonic: float, lasted_s: float = 0.05, *, synced: bool = True
    ) -> Summary:
        """Return window `number`: `FRAMES` passed, and one dropped under a name of its own."""
        for each in range(FRAMES):
            self._sketch.observe(self._frames[(number + each) % 32], each, 0.9, 900.0)
        return Summary(
            Header(self._station, "", 0, now - lasted_s, now, monotonic, synced, BUNDLE),
            Accounting(FRAMES + 1, FRAMES, 0, dropped={f"{MARKER}{self._tag}-{number}": 1}),
            to_wire(self._sketch.close()),
        )


def write_config(home: Path, station: str, port: int, outbox_mib: int) -> Path:
    """Write the agent.toml of a station in `home`."""
    path = home / "agent.toml"
    path.write_text(
        f'station = "{station}"\nhome = "state"\n[limits]\ncommit_s = 0.02\noutbox_mib = {outbox_mib}\n'
        f"[broker]\nport = {port}\nresend_after_s = 1.0\nreconnect_max_s = 0.5\n"
    )
    return path


def note_produced(ledger: LedgerFile) -> None:
    """Write down every summary as it is added to an outbox, within the transaction that stores it."""
    add = Outbox.add

    def noted(self: Outbox, summary: Summary, window: int) -> int:
        seq = add(self, summary, window)
        accounting = summary.accounting
        line = {"boot": self.boot, "seq": seq, "captured": accounting.captured}
        ledger.write({**line, "markers": sorted(markers_of(accounting))})
        return seq

    Outbox.add = noted  # type: ignore[method-assign]


def watch_link(plan: KillPlan) -> None:
    """Tell `plan` of the link's steps. Points that no statement shows."""
    publish, poll = MqttLink.publish, MqttLink.poll

    def published(self: MqttLink, channel: Channel, payload: bytes, *, retain: bool = False) -> None:
        publish(self, channel, payload, retain=retain)
        if channel is Channel.SUMMARY:
            plan.at("published")

    def polled(self: MqttLink, within_s: float) -> list[Incoming]:
        free = self.room().free
        arrived = poll(self, within_s)
        if self.room().free > free:
            plan.at("puback")
        if any(incoming.channel is Channel.ACK for incoming in arrived):
            plan.at("ack")
        return arrived

    MqttLink.publish = published  # type: ignore[method-assign]
    MqttLink.poll = polled  # type: ignore[method-assign]


class UplinkStation:
    """The parts put together as the agent's wiring does."""

    def __init__(self, settings: Settings, clock: SetClock, stack: ExitStack) -> None:
        log: Log = PlainLog()
        self._clock = clock
        self._stop = threading.Event()
        self.store = Store(settings, clock, log, stack, simulated=True)
        cloud = CloudSide(settings, clock, log, self.store, stack, roll=random.random, simulated=True)

        def chores(store: Store, sender: SampleSender | None) -> Chores:
            samples = store.samples(store.connect())
            return Chores(settings.station, store.memory(), samples, sender, ImagesLeave.NEVER, {}, log)

        uplink = cloud.uplink(Inbox(), ReportBox(), chores)
        assert uplink is not None, "a station without a broker"
        self._thread = threading.Thread(target=uplink.run, args=(self._stop,), name="uplink")
        self._connection = self.store.connect()
        self._outbox = self.store.outbox(self._connection)
        self._windows = Windows(settings.station, seed=len(settings.station))
        self.done = self.store.next_window[""] - 1

    def start(self) -> None:
        """Start the recorder and the uplink."""
        self.store.recorder.start()
        self._thread.start()

    def produce(self) -> None:
        """Record the frames of one window and end it, waiting for room."""
        number, recorder = self.done + 1, self.store.recorder
        now = self._clock.now()
        for _ in range(FRAMES):
            recorder.record(Result(number, now, "", "PASS", "", "good", 0.9, 1.0, BUNDLE), None)
        synced = self._clock.synced()
        summary = self._windows.summary(number, self._clock.now(), self._clock.monotonic(), synced=synced)
        while not recorder.close_window(number, summary):
            self._clock.sleep(0.02)
        self.done = number

    def keeps_up(self) -> bool:
        """Return whether few windows wait to be stored: of more than 16, a crash leaves some untold (agent.store.running_mark)."""
        return self.done - last_closed_window(self._connection, "") < 8

    def drained(self) -> bool:
        """Return whether all windows made here are stored, a little after `produce` returns, and none waits in the outbox."""
        return last_closed_window(self._connection, "") == self.done and self._outbox.depth() == 0

    def stop(self) -> None:
        """Commit what is queued, send for a moment, say goodbye."""
        self.store.stop(30.0)
        self._stop.set()
        self._thread.join(30.0)


def live_offline(settings: Settings, days: float, every_s: float, stack: ExitStack) -> None:
    """Produce the windows of `days` up to now, one each `every_s`, with no cloud to ship them to."""
    clock = HandClock(time.time() - days * 86_400.0)
    store = Store(settings, clock, PlainLog(), stack, simulated=True)
    windows = Windows(settings.station, seed=1)
    store.recorder.start()
    for number in range(1, int(days * 86_400.0 / every_s) + 1):
        clock.forward(every_s)
        summary = windows.summary(number, clock.now(), clock.monotonic(), every_s)
        while not store.recorder.close_window(number, summary):
            time.sleep(0.01)
    store.stop(60.0)


def main(words: Sequence[str] | None = None) -> int:
    """Run until drained, or until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--station", required=True)
    parser.add_argument("--broker-port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--kill-at", default="")
    parser.add_argument("--stop-at", default="", help="stand still there (SIGSTOP), until SIGCONT")
    parser.add_argument("--stay", action="store_true")
    parser.add_argument("--outbox-mib", type=int, default=16)
    parser.add_argument("--offline-days", type=float, default=0.0, help="live so long by a clock of its own, then end")
    parser.add_argument("--every-s", type=float, default=1800.0, help="of one window, offline")
    said = parser.parse_args(words)
    said.home.mkdir(parents=True, exist_ok=True)
    told_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_stop.set())
    plan = KillPlan(said.stop_at, by=signal.SIGSTOP) if said.stop_at else KillPlan(said.kill_at)
    watch_database(plan)
    watch_link(plan)
    ledger = LedgerFile(said.home / LEDGER)
    database = said.home / "state/agent.sqlite"
    if database.exists():
        # A damaged one tells nothing, and the station is here to find that out.
        with suppress(sqlite3.DatabaseError, KeyError):
            boot, next_seq = next_name(database)
            ledger.write({"boot": boot, "next_seq": next_seq})
    note_produced(ledger)
    config = write_config(said.home, said.station, said.broker_port, said.outbox_mib)
    with ExitStack() as stack:
        stack.callback(ledger.close)
        if said.offline_days:
            live_offline(load_settings(config), said.offline_days, said.every_s, stack)
            return 0
        station = UplinkStation(load_settings(config), SetClock(said.home / "clock"), stack)
        station.start()
        while not told_to_stop.wait(1.0 / said.rate):
            if station.done < said.count:
                if station.keeps_up():
                    station.produce()
            elif not said.stay and station.drained():
                break
        station.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
