"""A station put on a machine by scripts/install-agent, and what a test asks of it; the machine may be a root of its own."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from agent.line_io.modbus_map import Bit, Hold, In, Status
from tests.fakes.modbus_plc import ModbusPlc
from tests.fixtures_broker import free_port
from tests.tiny_bundle import write_bundle
from tests.wheel_house import ROOT, build_plumbline, lock_of, pack_installed, variant

INSTALL_AGENT = ROOT / "scripts/install-agent"
UNIT = "plumbline-agent.service"
VERDICTS = {1: "PASS", 2: "REJECT", 3: "REVIEW"}

# Put at the end of a file of the agent, to make a version that is broken in the way a test wants.
NEVER_STARTS = {"agent/commands/run.py": "\nraise RuntimeError('a release that was never started')\n"}
DIES_ON_THE_LINE = {
    "agent/wiring.py": (
        "\n_made = Station.__init__\n"
        "def _dies(self, settings, *rest, **more):\n"
        "    if settings.station != 'trial':\n"
        "        raise RuntimeError('only a real station shows this mistake')\n"
        "    _made(self, settings, *rest, **more)\n"
        "Station.__init__ = _dies\n"
    )
}


@dataclass(frozen=True)
class WheelHouse:
    """Everything that an installation without a network needs; more versions of plumbline are made when asked for."""

    folder: Path

    @cached_property
    def parts(self) -> Path:
        """The folder of every wheel but plumbline's."""
        pack_installed(("agent", "camera", "plc"), self.folder / "parts")
        return self.folder / "parts"

    @cached_property
    def lock(self) -> Path:
        """Versions and hashes of `parts`."""
        return lock_of(sorted(self.parts.glob("*.whl")), self.folder / "lock.txt")

    @cached_property
    def wheel(self) -> Path:
        """This checkout's wheel."""
        return build_plumbline(self.folder / "own")

    def version(self, number: str, changes: dict[str, str] | None = None) -> Path:
        """Return the wheel as another version."""
        return variant(self.wheel, self.folder / number, number, changes)


@dataclass
class Machine:
    """Where install-agent works: a prefix on this machine, or ("" prefix) the system in `root`, entered by chroot."""

    root: Path
    prefix: str
    units: str
    run: str
    config: str
    state: str
    strict: bool = False
    more: list[str] = field(default_factory=list)

    @property
    def place(self) -> Path:
        return self.root / (self.prefix or "opt/plumbline").lstrip("/")

    def inside(self, path: str) -> Path:
        """Return where a path of this machine lies."""
        return self.root / path.lstrip("/")

    def command(self, words: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run `words` on it."""
        enter = [] if self.root == Path("/") else ["chroot", str(self.root)]
        clean = {
            key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PIP_CERT", "PIP_FIND_LINKS")
        }
        return subprocess.run(
            [*enter, *words],
            capture_output=True,
            text=True,
            check=False,
            cwd="/"
            if enter
            else ROOT,  # where a person calls it from; the checkout must not be mistaken for what is installed
            env=clean | {"PIP_CONFIG_FILE": os.devnull} | (environment or {}),
            umask=0o077,  # of a hardened root shell; the station's user must read what is made all the same
        )

    def install_agent(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run scripts/install-agent on it, with tests/service_manager.py for systemctl."""
        where = ["--systemctl", self.manager]
        where += ["--prefix", self.prefix] if self.prefix else []
        done = self.command([str(self._at(INSTALL_AGENT)), *words, *where, *self.more], environment)
        print(done.stdout[-6000:], done.stderr[-6000:])
        return done

    def status(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.install_agent("status", "--json").stdout)
        return found

    def events(self) -> list[dict[str, Any]]:
        """Return what happened to the unit, oldest first."""
        file = self.inside(self.run) / f"{UNIT}.events"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def said(self) -> list[str]:
        """Return what the unit's process told its manager since it last started."""
        lines: list[str] = []
        for event in self.events():
            lines = [] if "pid" in event and event.get("state") == "starting" else lines
            lines += [event["said"]] if "said" in event else []
        return lines

    def main_process(self) -> int:
        return int(
            next(
                event["pid"] for event in reversed(self.events()) if event.get("state") == "starting" and "pid" in event
            )
        )

    def log(self) -> str:
        return (self.inside(self.run) / f"{UNIT}.log").read_text()

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT on the station's database."""
        with closing(sqlite3.connect(self.inside(self.state) / "state/agent.sqlite", timeout=10.0)) as connection:
            return connection.execute(statement).fetchall()

    def manage(self, command: str) -> int:
        """Have the service manager do `command` to the unit; return its exit code."""
        return self.command([*shlex.split(self.manager), command, UNIT]).returncode

    @property
    def manager(self) -> str:
        script = self._at(ROOT / "tests/service_manager.py")
        strict = " --strict" if self.strict else ""
        return f"{self._python} {script} --units {self.units} --run {self.run}{strict}"

    @property
    def _python(self) -> str:
        return sys.executable if self.root == Path("/") else "python3"

    def _at(self, file: Path) -> Path:
        return file if self.root == Path("/") else Path("/srv") / file.relative_to(ROOT)


def unwell(said: str) -> list[str]:
    """Return what the doctor at the end failed. Not the local API: any station of this computer may hold its usual port."""
    assert "doctor: exit code" in said
    return [line for line in said.splitlines() if line.startswith("FAIL") and line.split()[1] != "api"]


def wait_until(what: Callable[[], bool], within_s: float = 60.0) -> None:
    until_s = time.monotonic() + within_s
    while not what():
        if time.monotonic() > until_s:
            pytest.fail("it never came to be")
        time.sleep(0.1)


def serve_a_line(machine: Machine, camera: str, parts: int) -> None:
    """Give the station the camera at the RTSP address `camera`, a model and a PLC; have `parts` judged, each as the record says."""
    port = free_port()
    state = machine.inside(machine.state)
    bundle = write_bundle(state / "first.plb", pass_at=0.5)
    shutil.chown(bundle, state.stat().st_uid, state.stat().st_gid)
    machine.inside(machine.config).write_text(
        f'station = "line7"\nhome = "{machine.state}/state"\n[source]\nkind = "rtsp"\nurl = "{camera}"\n'
        f'[line]\ndeadline_ms = 10000.0\n[plc]\nkind = "modbus"\nport = {port}\nheartbeat_s = 2.0\n[broker]\nhost = ""\n'
        f'[api]\nport = 0\n[bundle]\npath = "{machine.state}/first.plb"\n'
    )
    assert machine.manage("restart") == 0, machine.log()
    told, took_s = {}, []
    with closing(ModbusPlc.at_last(port)) as plc:
        plc.begin()
        plc.until(lambda seen: bool(seen[In.STATE] & Bit.READY), 60.0)
        for number in range(1, parts + 1):
            since_s = time.monotonic()
            plc.ask(number, f"{port}-{number}")
            seen = plc.answered(number)
            took_s.append(time.monotonic() - since_s)
            assert seen[In.STATUS] == Status.VERDICT
            told[f"{port}-{number}"] = VERDICTS[seen[In.VERDICT]]
            plc.write(Hold.ACK, number)
    print(f"{parts} parts, from request to verdict {min(took_s) * 1e3:.0f} to {max(took_s) * 1e3:.0f} ms")
    wait_until(lambda: "WATCHDOG=1" in machine.said())
    asked = f"SELECT part, verdict FROM results WHERE part LIKE '{port}-%'"
    wait_until(lambda: len(machine.query(asked)) >= parts)
    assert dict(machine.query(asked)) == told
    # The camera's pictures grow bright and dark, and the model passes bright ones.
    assert {"PASS", "REJECT"} <= set(told.values()), told
