"""plumbline-cloud ingest, as real processes on a real broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.__main__ import main
from tests.cloud.broker.test_ingest_over_broker import Station, wait_for
from tests.fakes.cloud_tables import open_tables
from tests.fixtures_broker import ROOT, Broker

HEAVY = ("torch", "fastapi", "nicegui", "pydantic", "uvicorn", "scipy", "httpx", "cryptography", "tuf")


@pytest.fixture
def config(tmp_path: Path, broker: Broker) -> Path:
    file = tmp_path / "cloud.toml"
    file.write_text(f'[broker]\nport = {broker.port}\nclient_id = "plant-{broker.port}"\n[ingest]\nin_serve = false\n')
    return file


class Command:
    """`plumbline-cloud ingest` with its log."""

    def __init__(self, config: Path, *words: str) -> None:
        self._log = config.with_suffix(".log").open("w+b")
        self._out = config.with_suffix(".out").open("w+b")
        command = (sys.executable, "-m", "cloud", "ingest", "--json", "--config", str(config), *words)
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=self._log, stdout=self._out)

    def says(self, text: str) -> int:
        return Path(self._log.name).read_text().count(text)

    def stop(self) -> list[dict[str, object]]:
        """Ask it to stop, and return what each worker did."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(90)
        assert code == 0, Path(self._log.name).read_text()
        return [json.loads(line) for line in Path(self._out.name).read_text().splitlines()]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()
        self._out.close()


@pytest.fixture
def commands() -> Iterator[list[Command]]:
    started: list[Command] = []
    yield started
    for each in started:
        each.close()


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in found.split()]


@pytest.mark.slow
def test_two_workers_share_the_stations_and_one_that_is_killed_comes_back(
    config: Path, broker: Broker, commands: list[Command]
) -> None:
    command = Command(config, "--workers", "2")
    commands.append(command)
    wait_for(lambda: command.says("connected to broker") == 2)
    stations = [Station(broker, f"s{number}", 40) for number in range(4)]
    for station in stations[:2]:
        station.send(twice=0)
    wait_for(lambda: not any(station.outbox for station in stations[:2]))
    os.kill(children(command.process.pid)[0], signal.SIGKILL)
    for station in stations[2:]:
        station.send(twice=0)
    # What the dead one holds comes to it again: its session waits for it under the same name.
    wait_for(lambda: not any(station.outbox for station in stations) and command.says("connected to broker") == 3)
    for station in stations:
        station.close()
    done = command.stop()
    assert sorted(each["worker"] for each in done) == [0, 1]  # type: ignore[type-var]
    assert len({each["client_id"] for each in done}) == 2
    tables = open_tables(config.parent / "cloud.db")
    totals = [(t.summaries, t.missing_seqs) for t in tables.summaries.totals()]
    tables.database.close()
    assert totals == [(40, 0)] * 4
    assert command.says("starting it again") == 1


@pytest.mark.long
def test_workers_end_when_their_supervisor_is_killed(config: Path, commands: list[Command]) -> None:
    command = Command(config, "--workers", "2")
    commands.append(command)
    wait_for(lambda: command.says("connected to broker") == 2)
    workers = children(command.process.pid)
    assert len(workers) == 2
    command.process.kill()
    command.process.wait()
    wait_for(lambda: command.says("the supervisor is gone") == 2)
    wait_for(lambda: not any(_runs(pid) for pid in workers))


@pytest.mark.long
def test_the_same_worker_does_not_run_twice(config: Path, commands: list[Command]) -> None:
    first = Command(config)
    commands.append(first)
    wait_for(lambda: first.says("connected to broker") == 1)
    second = subprocess.run(
        (sys.executable, "-m", "cloud", "ingest", "--config", str(config)),
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert second.returncode == 1 and "runs on this machine already" in second.stderr
    assert first.stop()[0]["committed"] == 0


def test_a_worker_loads_neither_http_nor_training(config: Path) -> None:
    script = (
        "import sys\nfrom cloud.__main__ import main\nmain(['ingest', '--workers', '0', '--config', sys.argv[1]])\n"
        f"import cloud.ingest_worker\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    )
    shown = subprocess.run(
        (sys.executable, "-c", script, str(config)), cwd=ROOT, capture_output=True, text=True, timeout=200, check=True
    )
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--workers", "0"), "--workers 0 is outside 1..64"),
        (("--workers", "65"), "--workers 65 is outside 1..64"),
        (("--broker", "here"), "'here' is no broker"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    config: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    assert main(["ingest", "--config", str(config), *words]) == 1
    assert says in capsys.readouterr().err


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
