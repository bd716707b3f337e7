"""The parties of a failure test as processes, and the one question at its end: is what was produced what was committed?"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from cloud.ports.records import Cursor
from cloud.store.database import Database
from cloud.store.summaries import Summaries
from contract.codec import decode_summary
from contract.messages import Summary
from tests.chaos.produced import markers_in, read_produced

# Forked from a process that has loaded everything already: a start costs 30 ms, not a second of two cores that all share.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.chaos.uplink_station", "tests.chaos.ingest_worker"])


class Process:
    """A module of the tests, its `main` run as a child; what it says goes to `log`."""

    def __init__(self, module: str, log: Path, **arguments: object) -> None:
        self._log = log
        self._module = module
        self.arguments = arguments
        self._process: BaseProcess | None = None

    def start(self, **more: object) -> None:
        """Start it with its arguments and `more`; names have `_` for `-`, and True is a flag."""
        words: list[str] = []
        for name, value in {**self.arguments, **more}.items():
            if value is not False:
                words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        self._process = _context.Process(target=_run, args=(self._module, words, str(self._log)))
        self._process.start()

    @property
    def pid(self) -> int:
        """Return the process id of the running child."""
        assert self._process is not None and self._process.pid is not None
        return self._process.pid

    def running(self) -> bool:
        """Return whether it was started and has not ended."""
        return self._process is not None and self._process.is_alive()

    def stopped(self) -> bool:
        """Return whether SIGSTOP holds it."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, within_s: float = 90.0) -> int:
        """Wait for its end; return its exit code, or minus the signal."""
        assert self._process is not None
        self._process.join(within_s)
        assert self._process.exitcode is not None, f"it never ended; it said: {self.said()[-3000:]}"
        return self._process.exitcode

    def end(self, number: signal.Signals) -> int:
        """Send it a signal and wait for its end."""
        self.send(number)
        return self.wait()

    def said(self) -> str:
        """Return everything it said so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def close(self) -> None:
        """End it whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.join()


def _run(module: str, words: Sequence[str], log: str) -> None:
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.exit(importlib.import_module(module).main(words))


class Plant:
    """Makes stations and workers below one folder and ends them all."""

    def __init__(self, folder: Path, broker_port: int, database: str = "") -> None:
        self.folder = folder
        self.broker_port = broker_port
        self.database = database or f"sqlite:///{folder / 'cloud.db'}"
        self._processes: list[Process] = []
        self.homes: list[Path] = []

    def station(
        self, name: str, *, rate: float = 50.0, count: int = 6, home: Path | None = None, outbox_mib: int = 16
    ) -> Process:
        """Return a station that was not started."""
        home = home or self.folder / name
        self.homes.append(home)
        return self._process(
            "tests.chaos.uplink_station",
            self.folder / f"{home.name}.log",
            home=home,
            station=name,
            broker_port=self.broker_port,
            rate=rate,
            count=count,
            outbox_mib=outbox_mib,
        )

    def worker(self, client_id: str = "plumbline-cloud") -> Process:
        """Return a worker that was not started."""
        return self._process(
            "tests.chaos.ingest_worker",
            self.folder / f"worker-{client_id}.log",
            database=self.database,
            broker_port=self.broker_port,
            client_id=client_id,
        )

    def drain(self, *stations: Process, within_s: float = 90.0) -> None:
        """End these stations gently, then let each start again and run until its outbox is empty."""
        for station in stations:
            if station.running():
                assert station.end(signal.SIGTERM) == 0, station.said()[-2000:]
            station.start(count=0)
        for station in stations:
            assert station.wait(within_s) == 0, station.said()[-2000:]

    def close(self) -> None:
        """End every process."""
        for process in self._processes:
            process.close()

    def committed(self) -> list[Summary]:
        """Return every summary in the database."""
        database = Database(self.database)
        try:
            return [decode_summary(payload) for _, payload in Summaries(database).after(Cursor(0, 0, 0), 10_000_000)]
        finally:
            database.close()

    def has_committed(self, count: int) -> bool:
        """Return whether so many summaries are in the database."""
        database = Database(self.database)
        try:
            return sum(each.summaries for each in Summaries(database).totals()) >= count
        finally:
            database.close()

    def dead_letters(self) -> int:
        """Return how many messages were none of ours."""
        database = Database(self.database)
        try:
            return Summaries(database).dead_letter_count()
        finally:
            database.close()

    def check(self, *, names_too: bool = True, clones: bool = False) -> int:
        """Assert that every frame produced was committed exactly once, and nothing else; return how many summaries were.

        `names_too`: by (boot, seq) as well, where no station merged windows or took another boot. `clones`: what two devices
        sent under one name may be among the dead letters, if it came under another name too.
        """
        produced = [made for home in dict.fromkeys(self.homes) for made in read_produced(home).values()]
        summaries = self.committed()
        made = Counter(marker for each in produced for marker in each.markers)
        kept = markers_in(summaries)
        assert not (lost := made - kept), f"{sum(lost.values())} windows lost: {sorted(lost)[:5]}"
        assert not (double := kept - made), f"{sum(double.values())} windows twice or of nobody: {sorted(double)[:5]}"
        assert sum(s.accounting.captured for s in summaries) == sum(each.captured for each in produced)
        if names_too:
            assert _sorted((s.header.boot, s.header.seq) for s in summaries) == _sorted(
                (each.boot, each.seq) for each in produced
            )
        if not clones:
            assert self.dead_letters() == 0
        return len(summaries)

    def _process(self, module: str, log: Path, **arguments: object) -> Process:
        process = Process(module, log, **arguments)
        self._processes.append(process)
        return process


def child_pid(*words: str) -> int:
    """Return the process id of this process's child whose command line has all these words."""
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            if all(word in line for word in words):
                return int(pid)
    raise AssertionError(f"no child runs {words}")


def wait_until(what: Callable[[], bool], within_s: float = 90.0) -> None:
    """Return once `what` holds."""
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.05)


def _sorted(names: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(names)
