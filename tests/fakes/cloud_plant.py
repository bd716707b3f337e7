"""A cloud with a past: stations, an alarm, rollouts, review and an audit log, served by the real command."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from cloud.__main__ import main
from cloud.drift.policy import DriftPolicy
from cloud.improve_loop import ImproveLoop, ImproveRules, Stored
from cloud.ports.rollouts import StandingOrder
from cloud.registry.keys import load_keys
from cloud.registry.release import Registry, release_archive
from cloud.rollout.rollout_states import MemberEvent, RolloutEvent
from contract.messages import Accounting, Header, ReportedState, StationState, Summary
from contract.sketches.wire import to_wire
from tests.cloud.drift.conftest import StationLine
from tests.fakes.cloud_tables import Tables, note, open_tables, received
from tests.fakes.held_out import watch_labels
from tests.fakes.link import RecordingLink
from tests.fixtures_broker import ROOT, free_port
from tests.tiny_bundle import write_bundle


class CloudPlant:
    """A home folder and the server that serves it."""

    def __init__(self, folder: Path) -> None:
        self.home, self.port = folder / "plant", free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "serve.log"
        with contextlib.redirect_stdout(io.StringIO()):
            ports = ("--api-port", str(self.port), "--broker-port", str(free_port()))
            assert main(["init", "--home", str(self.home), *ports]) == 0
        with (self.home / "cloud.toml").open("a") as config:
            config.write("\n[drift]\nenrol_windows = 24\nsettle_windows = 24\nperiod_s = 0.0\n")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "cloud", "serve", "--config", str(self.home / "cloud.toml")),
                stdout=log, stderr=log, cwd=ROOT, env={**os.environ, "PYTHONWARNINGS": "default"},
            )  # fmt: skip
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/healthz", timeout=30).is_success:
                    return
            assert self._process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def stop(self, by: signal.Signals = signal.SIGINT) -> int:
        """Ask it to stop and return its exit code."""
        assert self._process is not None
        self._process.send_signal(by)
        code = self._process.wait(90)
        self._process = None
        return code

    @property
    def running(self) -> bool:
        return self._process is not None

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def live_a_little(self) -> None:
        """Three stations; line2's lens loses focus; v1 is everywhere, v2 stopped itself."""
        tables = open_tables(self.home / "cloud.db")
        now = time.time()
        registry, keys = Registry(self.home / "registry"), load_keys(self.home / "keys")
        first = release_archive(write_bundle(self.home / "v1.plb", version="v1"), registry, keys, now - 7200)
        second = release_archive(write_bundle(self.home / "v2.plb", version="v2"), registry, keys, now - 3600)
        for number in (1, 2, 3):
            tables.stations.add(f"line{number}", f"token {number}", f"hall {number}", now)
        births = [StationState(f"line{n}", "b", n != 3, now, "0.1.0", simulated=True) for n in (1, 2)]
        reports = [
            ReportedState(
                "line1", "b", now, first.digest, "ROLLED_BACK", "r2-line1", reason="agreed on 41 % of frames"
            ),
            ReportedState("line2", "b", now, first.digest, "COMMITTED", "r1-line2"),
        ]
        tables.stations.commit(births, reports, now - 4000)
        self._rollouts(tables, first.digest, second.digest, now)
        self._windows(tables, registry, first.digest, now)
        tables.database.close()

    @staticmethod
    def _rollouts(tables: Tables, first: str, second: str, now: float) -> None:
        book = tables.rollouts
        done = book.create("v1", first, [["line1"], ["line2"]], [], "operator", now - 7000)
        for member in book.members(done):
            book.order(member, MemberEvent.ORDER, StandingOrder(member.station, 1, first, "{}", True), "", now - 6900)
        for member in book.members(done):
            book.step_member(member, MemberEvent.COMMIT, "", now - 6800)
        book.step(book.get(done), RolloutEvent.ALL_WAVES_COMMITTED, "plumbline", "every wave is committed", now - 6700)
        bad = book.create("v2", second, [["line1"], ["line2", "line3"]], ["line2"], "operator", now - 3000)
        canary = book.members(bad)[0]
        book.order(canary, MemberEvent.ORDER, StandingOrder("line1", 2, second, "{}", True), first, now - 2900)
        canary = book.members(bad)[0]
        book.step_member(canary, MemberEvent.FAIL, "agreed on 41 % of frames", now - 2800)
        book.step(book.get(bad), RolloutEvent.ABORT, "plumbline", "line1: agreed on 41 % of frames", now - 2800)
        canary = book.members(bad)[0]
        book.recall(canary, StandingOrder("line1", 3, first, "{}", True), first, canary.reason, now - 2700)
        for member in book.members(bad):
            event = MemberEvent.RETURN if member.station == "line1" else MemberEvent.SKIP
            book.step_member(member, event, member.reason or "the rollout was stopped", now - 2600)
        book.step(book.get(bad), RolloutEvent.ALL_BACK, "plumbline", "", now - 2500)

    @staticmethod
    def _windows(tables: Tables, registry: Registry, bundle: str, now: float) -> None:
        lines = [StationLine("line1", seed=1), StationLine("line2", seed=2)]
        for index in range(40):
            if index == 32:
                lines[1].shift_by(sharpness=-8.0)
            for line in lines:
                line.at = now - (40 - index) * 3600.0
                r = line.record()
                kept = (note(f"{r.station}-{r.seq}", at=r.ended_at),)
                frames = Accounting(captured=32, passed=25, rejected=4, review={"unsure": 3})
                header = Header(r.station, r.boot, r.seq, r.started_at, r.ended_at, 0.0, True, bundle)
                tables.summaries.commit(
                    received(Summary(header, frames, to_wire(r.window), kept, simulated=True), at=now - 5), []
                )
        t = tables
        loop = ImproveLoop(
            stored=Stored(t.stations, t.summaries, t.alarms, t.samples, t.commands, t.rollouts, t.audit),
            releases=registry.catalog, carry_out=lambda *_: False, start_rollout=lambda *_: 0, link=RecordingLink(),
            labels=watch_labels(t),
            policy=DriftPolicy(enrol_windows=24, settle_windows=24), rules=ImproveRules(4, 0.5, 60.0, automatic=False),
            now=lambda: now,
        )  # fmt: skip
        loop.tick()
        loop.close()
        for number, sample in enumerate(tables.samples.of_alarm(1)):
            tables.samples.mark_received(sample.sample, "line2", registry.blobs.put(b"pixels"), now)
            if number == 0:
                tables.samples.label(sample.sample, "scratch", "eva", now)
