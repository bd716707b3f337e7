"""What storing costs the flash: 7,700 KiB per 1,000 frames committing every 0.1 s at 20 frames/s (ext4), 1,850 every second."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent.ports.recorder import Result
from agent.store.database import claim_boot, open_database
from agent.store.outbox import Outbox
from agent.store.recorder import GroupRecorder
from agent.store.running_mark import RunningMarks
from agent.store.samples import Samples
from tests.fakes.agent_line import ListLog

FRAMES, LINGER_S = 400, 0.01


def _written() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def _kib_per_1000_frames(folder: Path, at_a_time: int) -> float:
    """Record so many at once, and the next ones when those are committed: what a machine does besides changes no commit."""
    path = folder / "agent.sqlite"
    connection = open_database(path)
    outbox = Outbox(connection, boot=claim_boot(connection, path))
    mark = RunningMarks(folder, outbox.boot)
    recorder = GroupRecorder(
        connection, outbox, Samples(connection, folder / "s"), ListLog(), linger_s=LINGER_S, batch=256, mark=mark
    )
    reader = open_database(path)
    before = _written()
    recorder.start()
    for n in range(FRAMES):
        recorder.record(Result(1, time.time(), f"part-{n:06d}", "PASS", "", "good", 0.98, 3.0, "b" * 64), None)
        while n % at_a_time == at_a_time - 1 and reader.execute("SELECT COUNT(*) FROM results").fetchone()[0] <= n:
            time.sleep(0.001)
    reader.close()
    assert recorder.stop(60.0)
    connection.close()
    mark.goodbye()
    return (_written() - before) / 1024 * 1000 / FRAMES


def test_results_committed_twenty_at_a_time_write_a_third_of_what_two_at_a_time_do(tmp_path: Path) -> None:
    # 20 frames/s for the default second, and for 0.1 s.
    seldom = _kib_per_1000_frames(tmp_path / "seldom", 20)
    often = _kib_per_1000_frames(tmp_path / "often", 2)
    if often == 0:
        pytest.skip("this file system does not count its writes (a tmpfs?): set TMPDIR to a disk")
    print(f"\nKiB written per 1,000 frames: 20 a commit {seldom:.0f}, 2 a commit {often:.0f}")
    assert seldom < 2_500 and seldom < often / 2
