"""Processes that are started again, and stopped together; real ones."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from pathlib import Path

from cloud.worker_pool import WorkerPool


def worker(folder: Path, body: str) -> list[str]:
    """A process that leaves a file for each start, and then does `body`; `n` counts its starts."""
    begin = (
        "import os, signal, sys, tempfile, time; n = len(os.listdir(sys.argv[1])); tempfile.mkstemp(dir=sys.argv[1])"
    )
    folder.mkdir()
    return [sys.executable, "-S", "-c", f"{begin}\n{body}", str(folder)]


def run_until(pool: WorkerPool, folders: dict[Path, int]) -> int:
    """Run until each folder has so many files, then stop; return the exit code."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(pool.run()))
    thread.start()
    until = time.monotonic() + 90
    while any(len(list(folder.iterdir())) < count for folder, count in folders.items()):
        assert time.monotonic() < until, "they were not started"
        time.sleep(0.02)
    pool.stop()
    thread.join(90)
    assert not thread.is_alive()
    return codes[0]


WELL = "signal.signal(signal.SIGTERM, lambda *_: os._exit(0)); tempfile.mkstemp(dir=sys.argv[1]); time.sleep(600)"


def test_one_that_crashes_is_started_again_and_the_other_is_left_alone(tmp_path: Path) -> None:
    crashing = worker(tmp_path / "crashing", f"if n < 1: os.kill(os.getpid(), 9)\n{WELL}")
    pool = WorkerPool([crashing, worker(tmp_path / "well", WELL)], time.monotonic, time.sleep)
    # Two starts, and the second has got as far as to be well.
    code = run_until(pool, {tmp_path / "crashing": 3, tmp_path / "well": 2})
    assert code == 0, "how it ended before does not matter: it was well when it was stopped"
    assert len(list((tmp_path / "well").iterdir())) == 2


def test_the_worst_exit_code_is_told(tmp_path: Path) -> None:
    ends_badly = WELL.replace("os._exit(0)", "os._exit(7)")
    commands = [worker(tmp_path / "well", WELL), worker(tmp_path / "badly", ends_badly)]
    pool = WorkerPool(commands, time.monotonic, time.sleep)
    assert run_until(pool, {tmp_path / "well": 2, tmp_path / "badly": 2}) == 7


def test_one_that_never_starts_is_tried_ever_more_seldom(tmp_path: Path) -> None:
    now = 0.0
    starts: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        process = pool._workers[0].process
        if process is not None:
            process.wait(60)
            if len(starts) < pool._workers[0].starts:
                starts.append(now)
        now += seconds
        if len(starts) == 5:
            pool.stop()

    pool = WorkerPool([worker(tmp_path / "broken", "sys.exit(1)")], lambda: now, sleep)
    assert pool.run() == 1
    waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert all(later > 1.4 * earlier for earlier, later in itertools.pairwise(waits)), waits
