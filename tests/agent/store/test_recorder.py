"""Group commit: results, samples and a window's summary become durable together."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.ports.recorder import Result, Sample
from agent.store.database import claim_boot, open_database, transaction
from agent.store.outbox import Outbox
from agent.store.recorder import GroupRecorder
from agent.store.recovery import RECOVERED, last_closed_window, recover
from agent.store.results import forget_old
from agent.store.samples import Samples
from agent.store.status import read_status
from contract.codec import decode_summary
from contract.messages import Accounting, Header, SampleNote, Summary
from tests.fakes.agent_line import ListLog


class Store:
    """A store in `folder`, with the recorder running."""

    def __init__(
        self,
        folder: Path,
        *,
        queue_size: int = 512,
        keep_rows: int = 1_000,
        max_samples: int = 100,
        producers: int = 1,
    ) -> None:
        self.path = folder / "agent.sqlite"
        self.connection = open_database(self.path)
        self.reader = open_database(self.path)
        self.outbox = Outbox(self.connection, boot=claim_boot(self.connection, self.path))
        self.samples = Samples(self.connection, folder / "samples", max_count=max_samples)
        self.log = ListLog()
        self.recorder = GroupRecorder(
            self.connection,
            self.outbox,
            self.samples,
            self.log,
            queue_size=queue_size,
            linger_s=0.02,
            keep_rows=keep_rows,
            producers=producers,
        )

    def recover(self) -> int:
        return recover(self.connection, self.outbox, self.samples, station="s1", monotonic_s=1.0, simulated=False)

    def summaries(self) -> list[Summary]:
        return [decode_summary(row.payload) for row in Outbox(self.reader, boot="").pending(1_000)]

    def close(self) -> None:
        self.connection.close()
        self.reader.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    stores: list[Store] = []

    def make(**options: int) -> Store:
        stores.append(Store(tmp_path, **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def result(window: int, verdict: str = "PASS", cause: str = "", captured_at: float = 1_000.0) -> Result:
    return Result(window, captured_at, "p", verdict, cause, "good", 0.9, 3.0, "b" * 64)


def summary(captured: int, camera: str = "") -> Summary:
    header = Header("s1", "", 0, 1.0, 2.0, 3.0, True, "b" * 64, camera=camera)
    return Summary(header, Accounting(captured=captured, passed=captured))


def note(name: str, at: float = 1.0, reason: str = "hard") -> SampleNote:
    return SampleNote(name, at, "p", "good", 0.6, "REVIEW", reason, 0.0, 2.375)


def test_a_window_ships_with_its_results_and_sample_notes(make: Callable[..., Store]) -> None:
    store = make()
    store.recorder.start()
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert store.recorder.record(result(1), Sample(note("b-1-0"), pixels))
    assert store.recorder.record(result(1, "REVIEW", "unsure"), None)
    assert store.recorder.close_window(1, summary(2))
    assert store.recorder.stop(60.0)
    (shipped,) = store.summaries()
    assert shipped.samples == (note("b-1-0"),)
    found = Samples(store.reader, store.path.parent / "samples").find("b-1-0")
    assert found is not None
    assert found[0] == note("b-1-0")
    assert found[1].startswith(b"\x89PNG")
    status = read_status(store.reader)
    assert (status.captured, status.passed, status.review, status.windows) == (2, 1, 1, {"": 1})
    assert status.review_causes == {"unsure": 1}


def test_what_a_crash_left_open_is_shipped_from_its_rows_once(make: Callable[..., Store]) -> None:
    store = make()
    store.recorder.start()
    store.recorder.record(result(1), None)
    store.recorder.close_window(1, summary(1))
    for verdict, cause in (("PASS", ""), ("REJECT", ""), ("REVIEW", "late"), ("REVIEW", "unsure")):
        store.recorder.record(result(2, verdict, cause), None)
    store.recorder.stop(60.0)  # window 2 never closes
    assert store.recover() == 1
    assert store.recover() == 0
    closed, recovered = store.summaries()
    assert (closed.note, recovered.note) == ("", RECOVERED)
    assert recovered.accounting == Accounting(4, 1, 1, {"late": 1, "unsure": 1})
    assert recovered.accounting.closes()
    assert recovered.header.seq == 2
    assert last_closed_window(store.reader) == 2


def test_a_full_queue_says_so_and_loses_nothing_it_took(make: Callable[..., Store]) -> None:
    store = make(queue_size=4)
    assert [store.recorder.record(result(1), None) for _ in range(6)] == [True] * 4 + [False] * 2
    assert not store.recorder.has_room()
    store.recorder.start()
    assert store.recorder.stop(60.0)
    assert read_status(store.reader).captured == 4


def test_window_ends_have_places_of_their_own_and_not_without_end(make: Callable[..., Store]) -> None:
    store = make(queue_size=4)
    for _ in range(4):
        assert store.recorder.record(result(1), None)
    # The last window of a line that stops, say: whoever waits for a full queue would lose it.
    taken = [store.recorder.close_window(n, summary(4)) for n in range(1, 100)]
    assert taken == sorted(taken, reverse=True)
    assert 1 <= sum(taken) < 50
    store.recorder.start()
    assert store.recorder.stop(60.0)
    assert len(store.summaries()) == sum(taken)


def test_room_for_a_windows_end_stays_while_other_cameras_fill_the_queue(make: Callable[..., Store]) -> None:
    cameras = ("", "left", "right")
    store = make(queue_size=4, producers=len(cameras))
    seen = {camera: store.recorder.has_room() for camera in cameras}
    closed: list[str] = []
    while seen["left"]:  # one camera closes whenever it may; nothing is committed meanwhile
        assert store.recorder.close_window(len(closed) + 1, summary(4, "left"))
        closed.append("left")
        seen["left"] = store.recorder.has_room()
    while store.recorder.record(result(1), None):
        pass
    for camera in ("", "right"):
        assert seen[camera]
        assert store.recorder.close_window(1, summary(4, camera))
    store.recorder.start()
    assert store.recorder.stop(60.0)
    assert sorted(s.header.camera for s in store.summaries()) == sorted([*closed, "", "right"])


def test_pixels_never_fill_more_than_half_the_queue(make: Callable[..., Store]) -> None:
    store = make(queue_size=4)
    for n in range(4):
        store.recorder.record(result(1), Sample(note(f"b-1-{n}"), np.zeros((8, 8), np.uint8)))
    store.recorder.start()
    store.recorder.stop(60.0)
    assert read_status(store.reader).samples == 2


def test_a_disk_that_refuses_is_unhealthy_until_it_takes_the_batch_again(make: Callable[..., Store]) -> None:
    store = make()
    blocker = sqlite3.connect(store.path, isolation_level=None)
    store.connection.execute("PRAGMA busy_timeout = 10")
    blocker.execute("BEGIN IMMEDIATE")
    store.recorder.start()
    store.recorder.record(result(1), None)
    pause = threading.Event()
    for _ in range(200):
        if not store.recorder.healthy():
            break
        pause.wait(0.02)
    assert not store.recorder.healthy()
    blocker.execute("ROLLBACK")
    blocker.close()
    for _ in range(200):
        if store.recorder.healthy():
            break
        pause.wait(0.02)
    assert store.recorder.stop(60.0)
    assert read_status(store.reader).captured == 1
    assert any("results are stored again" in line for line in store.log.lines)


def test_old_rows_go_only_when_their_window_was_acknowledged_and_totals_stay(make: Callable[..., Store]) -> None:
    store = make(keep_rows=5)
    store.recorder.start()
    for window in (1, 2, 3):
        for _ in range(10):
            store.recorder.record(result(window), None)
        store.recorder.close_window(window, summary(10))
    store.recorder.stop(60.0)

    def rows() -> int:
        return int(store.reader.execute("SELECT COUNT(*) FROM results").fetchone()[0])

    assert rows() == 30
    store.outbox.take(1)
    store.outbox.acknowledge(store.outbox.boot, [(1, 1)], 1.0)
    with transaction(store.connection):
        assert forget_old(store.connection, keep_rows=5) == 10
    assert rows() == 20
    assert read_status(store.reader).captured == 30


def test_samples_over_budget_go_uploaded_first_then_faults_then_the_audit_then_hard_then_asked_for(
    make: Callable[..., Store],
) -> None:
    store = make(max_samples=3)
    pixels = np.zeros((8, 8), np.uint8)
    notes = [
        note("asked", 0.0, "review"),
        note("hard", 1.0, "hard"),
        note("old-audit", 2.0, "audit"),
        note("new-audit", 3.0, "audit"),
        note("blank", 4.0, "review"),
        note("sent", 5.0, "hard"),
    ]
    with transaction(store.connection):
        for each in notes:
            store.samples.add(each, 1, store.samples.write(each, pixels))
    store.samples.mark_asked(["asked", "sent", "gone"])
    store.samples.mark_uploaded("sent")
    gone: list[str] = []
    for most in (5, 4, 3, 2, 1):
        fewer = Samples(store.connection, store.path.parent / "samples", max_count=most)
        with transaction(store.connection):
            gone += fewer.evict()
    assert gone == ["sent", "blank", "old-audit", "new-audit", "hard"]
    store.samples.remove(gone)
    assert [path.name for path in (store.path.parent / "samples").iterdir()] == ["asked.png"]


def test_files_without_a_row_are_swept_at_start(make: Callable[..., Store]) -> None:
    store = make()
    store.samples.write(note("orphan"), np.zeros((8, 8), np.uint8))
    assert store.samples.sweep() == 1
    assert store.samples.find("orphan") is None
    assert store.samples.find("../agent") is None
