"""One disk budget: what goes first, what is merged, and that every drop is told (P4, P5)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.ports.recorder import Result, Sample
from agent.store.database import claim_boot, open_database, transaction
from agent.store.outbox import Outbox
from agent.store.recorder import GroupRecorder
from agent.store.retention import DiskShares, Retention
from agent.store.samples import Samples
from contract.codec import decode_summary
from contract.messages import Accounting, Header, SampleNote, Summary
from contract.sketches.window import FEATURES_VERSION, SketchIdentity, empty_window
from contract.sketches.wire import to_wire
from tests.fakes.agent_line import ListLog

MIB = 1 << 20
FRAMES = 128
SKETCH = to_wire(empty_window(SketchIdentity(FEATURES_VERSION, 1, "", "a" * 64, 4)))


class Store:
    """A store with small shares; `keep` bytes are free on the disk."""

    def __init__(self, folder: Path, shares: DiskShares) -> None:
        self.folder, self.free = folder, 1 << 40
        self.path = folder / "agent.sqlite"
        self.connection = open_database(self.path)
        self.outbox = Outbox(
            self.connection, boot=claim_boot(self.connection, self.path), max_bytes=shares.outbox_bytes
        )
        self.samples = Samples(self.connection, folder / "samples", max_bytes=shares.samples_bytes)
        self.evidence: list[Path] = []
        retention = Retention(
            self.connection, self.outbox, self.samples,
            keep_rows=1_000_000, shares=shares, free_bytes=lambda: self.free, evidence=lambda: self.evidence,
        )  # fmt: skip
        self.recorder = GroupRecorder(
            self.connection,
            self.outbox,
            self.samples,
            ListLog(),
            queue_size=100_000,
            linger_s=0.01,
            retention=retention,
        )

    def fill(self, windows: int, first: int = 1, *, images: int = 0, sketches: bool = True) -> None:
        """Record windows a minute apart, and wait until they are stored."""
        for window in range(first, first + windows):
            at = 60.0 * window
            for n in range(FRAMES):
                sample = None
                if n < images:
                    reason = ("audit", "hard", "review")[n % 3]
                    note = SampleNote(f"b-{window}-{n}", at + n, "p", "good", 0.6, "REVIEW", reason, 0.0)
                    sample = Sample(note, np.random.default_rng(n).integers(0, 256, (64, 64)).astype(np.uint8))
                result = Result(window, at, f"part-{window}-{n}", "PASS", "", "good", 0.9, 3.0, "b" * 64)
                assert self.recorder.record(result, sample)
            header = Header("s1", "", 0, at, at + 59.0, 3.0, True, "b" * 64)
            accounting = Accounting(captured=FRAMES, passed=FRAMES)
            assert self.recorder.close_window(window, Summary(header, accounting, SKETCH if sketches else None))
        self.recorder.start()
        assert self.recorder.stop(30.0)

    def summaries(self) -> list[Summary]:
        return [decode_summary(row.payload) for row in self.outbox.pending(10_000)]

    def rows(self) -> tuple[int, int]:
        count, oldest = self.connection.execute("SELECT COUNT(*), MIN(window) FROM results").fetchone()
        return int(count), int(oldest or 0)

    def drops(self) -> dict[str, int]:
        return dict(self.connection.execute("SELECT cause, total FROM drops").fetchall())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path, DiskShares(2 * MIB, MIB // 2, MIB // 2))
    yield made
    made.connection.close()


def test_weeks_offline_stay_within_the_budget_and_every_frame_is_still_accounted_for(store: Store) -> None:
    store.fill(200, images=6)
    on_disk = sum(file.stat().st_size for file in store.folder.rglob("*") if file.suffix not in (".sqlite-shm",))
    assert on_disk <= 3 * MIB + 4 * MIB, "both shares and the log"
    assert store.path.stat().st_size <= 2 * MIB
    assert store.samples.used_bytes() <= MIB // 2
    assert sum(s.accounting.captured for s in store.summaries()) == 200 * FRAMES
    assert all(s.accounting.closes() for s in store.summaries())
    drops = store.drops()
    assert drops["result rows (counted, not acknowledged)"] > 10_000
    assert drops["windows (sketches merged, none lost)"] > 0 and "windows (sketches lost)" not in drops
    assert drops["images (review)"] == 400 and "images (hard)" in drops


def test_waiting_windows_become_hours_before_anything_of_them_is_lost(store: Store) -> None:
    store.fill(400)
    first, last = store.summaries()[0], store.summaries()[-1]
    assert first.window is not None and first.header.ended_at - first.header.started_at <= 3600.0
    assert first.note.startswith("merged: summaries 1-") and first.accounting.captured > 10 * FRAMES
    assert last.accounting.captured == FRAMES and not last.note.startswith("merged"), "the newest stays whole"


def test_every_drop_is_told_once_in_a_later_summary(store: Store) -> None:
    store.fill(150, sketches=False)
    told = [s.note for s in store.summaries() if "let go for room" in s.note]
    numbers = [int(note.split("let go for room: ")[1].split(" ")[0]) for note in told]
    untold = dict(store.connection.execute("SELECT cause, untold FROM drops").fetchall())
    cause = "result rows (counted, not acknowledged)"
    assert sum(numbers) + untold[cause] == store.drops()[cause] > 0


def test_rows_the_cloud_has_acknowledged_go_first_and_images_stay(store: Store) -> None:
    store.fill(20, images=3)
    store.outbox.take(1_000)
    store.outbox.acknowledge(store.outbox.boot, [(1, 20)], 1.0)
    images = store.samples.used_bytes()
    again = Store(store.folder, DiskShares(MIB // 2, MIB // 2, MIB // 2))
    again.fill(5, first=21)
    assert set(again.drops()) == {"result rows (acknowledged)"}
    assert again.samples.used_bytes() == images
    again.connection.close()


def test_a_disk_that_others_fill_takes_images_back(store: Store) -> None:
    store.fill(10, images=6)
    before = store.samples.used_bytes()
    store.free = 16 * MIB - before // 2
    with transaction(store.connection):
        gone = store.recorder._retention.make_room()
    store.samples.remove(gone)
    assert 0.4 * before <= store.samples.used_bytes() <= 0.5 * before
    assert not any(name.endswith(("-1", "-4")) for name in gone), "the hard ones are the last to go"


def test_a_quarantined_database_goes_before_anything_else(store: Store) -> None:
    evidence = store.folder / "agent.sqlite.corrupt-1"
    evidence.write_bytes(b"x" * (2 * MIB))
    store.evidence = [evidence]
    store.fill(3)
    assert not evidence.exists() and store.drops() == {}


def test_the_shares_never_exceed_the_budget() -> None:
    for mib in (16, 64, 512, 100_000):
        shares = DiskShares.of(mib * MIB, outbox_bytes=64 * MIB, samples_bytes=256 * MIB)
        assert shares.database_bytes + shares.samples_bytes < mib * MIB
        assert 0 < shares.outbox_bytes < shares.database_bytes
