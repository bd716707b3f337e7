"""The whole station on a disk that fills up or turns read-only: verdicts go on as REVIEW, it mends itself, all is accounted for."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contract.codec import decode_summary
from contract.messages import Summary
from tests.fixtures_broker import free_port
from tests.station_process import Station, wait_for


def summaries(home: Path) -> list[Summary]:
    connection = sqlite3.connect(home / "agent.sqlite")
    try:
        return [decode_summary(row[0]) for row in connection.execute("SELECT payload FROM outbox ORDER BY id")]
    finally:
        connection.close()


def is_stored(url: str) -> bool:
    return httpx.get(f"{url}/healthz", timeout=60).status_code == 200


@pytest.mark.slow
def test_a_disk_that_takes_nothing_for_a_while_is_told_by_every_door(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    station = Station(tmp_path, 1, extra=f"[api]\nport = {port}\n")
    try:
        station.start()
        wait_for(lambda: station.rows() > 100)
        assert is_stored(url)
        assert station.process is not None
        # No file of this process may grow beyond its first byte: for SQLite that is a disk that takes nothing.
        soft, hard = resource.prlimit(station.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(station.process.pid, resource.RLIMIT_FSIZE, (1, hard))
        wait_for(lambda: not is_stored(url))
        rows = station.rows()
        resource.prlimit(station.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
        wait_for(lambda: is_stored(url))
        wait_for(lambda: station.rows() > rows + 100)
        assert station.end(signal.SIGTERM) == 0
    finally:
        station.close()
    told = summaries(tmp_path / "state")
    assert all(summary.accounting.closes() for summary in told)
    assert sum(summary.accounting.decided for summary in told) == station.rows()
    assert sum(summary.accounting.review.get("broken_disk", 0) for summary in told) > 0
    assert station.status()["review_causes"].get("broken_disk", 0) > 0
    assert "Traceback" not in station.said()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home on a file system of its own."""
    home = tmp_path / "state"
    home.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(home))
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a tmpfs; the RLIMIT_FSIZE test stands in for it")
    yield home
    subprocess.run(("umount", "-l", str(home)), check=False)


def remount(home: Path, how: str) -> bool:
    return not subprocess.run(("mount", "-o", f"remount,{how}", str(home)), capture_output=True, check=False).returncode


@pytest.mark.slow
def test_a_home_that_is_read_only_at_the_start_is_one_line_and_the_station_starts_once_it_is_not(
    tmp_path: Path, home: Path
) -> None:
    station = Station(tmp_path, 1)
    try:
        station.start()
        wait_for(lambda: station.rows() > 60)
        assert station.end(signal.SIGTERM) == 0
        rows = station.rows()
        if not remount(home, "ro"):
            pytest.skip("this user may not remount")
        for command in ("run", "doctor"):
            ran = subprocess.run(
                (sys.executable, "-m", "agent", command, "--config", str(station.config)),
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert ran.returncode != 0
            assert "read-only" in (ran.stdout + ran.stderr).lower() and "Traceback" not in ran.stderr, ran.stderr
        # What is there can still be read.
        assert station.status()["captured"] == rows
        assert remount(home, "rw")
        station.start()
        wait_for(lambda: station.rows() > rows)
        assert station.end(signal.SIGTERM) == 0
    finally:
        station.close()
