"""A disk that is full, read-only or damaged: verdicts go on as REVIEW, it mends itself, and the accounting closes (P6)."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.ports.recorder import Result
from agent.store.database import claim_boot, open_database
from agent.store.outbox import Outbox
from agent.store.quarantine import check, kept, start_sound
from agent.store.recorder import GroupRecorder
from agent.store.running_mark import read_mark
from agent.store.samples import Samples
from contract.codec import decode_summary
from contract.messages import Summary
from tests.fakes.agent_line import ListLog
from tests.station_process import Station, wait_for


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """32 MiB of a real file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder))
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a tmpfs; the RLIMIT_FSIZE test stands in for it")
    yield folder
    subprocess.run(("umount", "-l", str(folder)), check=False)


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    made = Station(tmp_path, 1)  # no broker answers there: everything stays in the outbox
    yield made
    made.close()


def summaries(path: Path) -> list[Summary]:
    connection = sqlite3.connect(path)
    try:
        return [decode_summary(row[0]) for row in connection.execute("SELECT payload FROM outbox ORDER BY id")]
    finally:
        connection.close()


@pytest.mark.slow
def test_a_full_disk_is_review_until_there_is_room_again(small_disk: Path, tmp_path: Path) -> None:
    station = Station(small_disk, 1)
    try:
        station.start()
        wait_for(lambda: station.rows() > 60)
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"x" * 4096)
        # Our own log stands on the full disk too; only the database can tell.
        time.sleep(4.0)
        filler.unlink()
        rows = station.rows()
        wait_for(lambda: station.rows() > rows + 200)
        assert station.end(signal.SIGTERM) == 0
    finally:
        station.close()
    told = summaries(small_disk / "state/agent.sqlite")
    assert all(summary.accounting.closes() for summary in told)
    assert sum(summary.accounting.review.get("broken_disk", 0) for summary in told) > 0
    assert sum(summary.accounting.decided for summary in told) == station.rows()


def recorder_in(folder: Path) -> tuple[GroupRecorder, sqlite3.Connection]:
    path = folder / "agent.sqlite"
    connection = open_database(path)
    outbox = Outbox(connection, boot=claim_boot(connection, path))
    recorder = GroupRecorder(connection, outbox, Samples(connection, folder / "samples"), ListLog(), linger_s=0.01)
    recorder.start()
    return recorder, connection


def outage(
    recorder: GroupRecorder, connection: sqlite3.Connection, begin: Callable[[], None], end: Callable[[], None]
) -> None:
    taken = 0

    def record_until(healthy: bool) -> None:
        nonlocal taken
        until = time.monotonic() + 90.0
        while recorder.healthy() is not healthy:
            assert time.monotonic() < until
            taken += recorder.record(Result(1, 1.0, "p" * 200, "PASS", "", "good", 0.9, 3.0, "b" * 64), None)
            time.sleep(0.001)

    begin()
    record_until(False)
    end()
    record_until(True)
    assert recorder.stop(60.0)
    assert connection.execute("SELECT COUNT(*) FROM results").fetchone()[0] == taken > 0
    connection.close()


def test_a_file_size_limit_is_survived_like_a_full_disk(tmp_path: Path) -> None:
    recorder, connection = recorder_in(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        outage(
            recorder,
            connection,
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard)),
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)),
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_database_turned_read_only_is_survived(tmp_path: Path) -> None:
    # A file system with open files cannot be remounted read-only; SQLite gives the same answer to this.
    recorder, connection = recorder_in(tmp_path)

    def switch(on: int) -> Callable[[], None]:
        return lambda: connection.execute(f"PRAGMA query_only = {on}").close()

    outage(recorder, connection, switch(1), switch(0))


def damage(path: Path) -> None:
    """Overwrite pages in the middle, as worn flash does."""
    with path.open("r+b") as file:
        for page in range(2, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xa5" * 512)


@pytest.mark.slow
def test_a_damaged_database_is_put_aside_and_the_first_summary_says_what_was_lost(station: Station) -> None:
    station.start()
    wait_for(lambda: station.rows() > 200)
    path, mark = station.folder / "state/agent.sqlite", station.folder / "state/running.mark"
    # Not between a commit and the note of it.
    station.kill_when(lambda: [(read_mark(mark).outbox,)] == station.query("SELECT COUNT(*) FROM outbox"))
    connection = sqlite3.connect(path)
    waiting = connection.execute("SELECT COUNT(*) FROM outbox").fetchone()[0]
    boot = connection.execute("SELECT boot FROM outbox LIMIT 1").fetchone()[0]
    reference = connection.execute("SELECT value FROM memory WHERE name = 'reference'").fetchone()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    left = read_mark(mark).windows.values()
    open_frames = sum(window.frames + sum(window.dropped.values()) for window in left)
    damage(path)
    station.start()
    wait_for(lambda: "database was corrupt" in station.said())
    wait_for(lambda: station.rows() > 60)
    assert station.end(signal.SIGTERM) == 0
    first, *later = summaries(path)
    assert first.note.startswith("gap: database was corrupt, quarantined as agent.sqlite.corrupt-")
    assert f"up to {waiting} unshipped summaries are unknown" in first.note
    # On a busy machine frames give way meanwhile; they are counted too.
    lost = first.accounting.undecided + sum(first.accounting.dropped.values())
    assert lost == first.accounting.captured == open_frames
    assert first.header.boot != boot and later
    assert len(kept(path)) == 1 and reference is not None
    assert "database was corrupt" in station.said()


def test_only_one_damaged_database_is_kept_and_none_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "agent.sqlite"
    for now in (1.0, 2.0):
        path.write_bytes(b"no database" * 1000)
        assert start_sound(path, unclean=False, now=now, monotonic=time.monotonic, keep_bytes=1 << 20) is not None
    assert [file.name for file in kept(path)] == ["agent.sqlite.corrupt-19700101T000002Z"]
    path.write_bytes(b"no database" * 1000)
    found = start_sound(path, unclean=True, now=3.0, monotonic=time.monotonic, keep_bytes=100)
    assert found is not None and found.kept_as == "" and kept(path) == [] and not path.exists()


def test_a_sound_database_passes_and_a_check_without_time_gives_up(tmp_path: Path) -> None:
    recorder, connection = recorder_in(tmp_path)
    for _ in range(20_000):
        while not recorder.record(Result(1, 1.0, "p", "PASS", "", "good", 0.9, 3.0, "b" * 64), None):
            time.sleep(0.001)
    recorder.stop(60.0)
    connection.close()
    path = tmp_path / "agent.sqlite"
    for thorough in (False, True):
        assert check(path, time.monotonic, thorough=thorough) == ""
    assert check(path, time.monotonic, thorough=True, within_s=-1.0) is None
    assert start_sound(path, unclean=True, now=1.0, monotonic=time.monotonic, keep_bytes=1) is None
    assert start_sound(tmp_path / "none", unclean=True, now=1.0, monotonic=time.monotonic, keep_bytes=1) is None
