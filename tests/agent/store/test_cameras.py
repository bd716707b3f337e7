"""Several cameras in one store: each window is named by its camera and number, and counted there and nowhere else (P1)."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from agent.ports.recorder import Result, Sample
from agent.store.database import SCHEMA_VERSION, claim_boot, open_database, transaction
from agent.store.memory import SqliteMemory
from agent.store.migrations import migrations
from agent.store.outbox import Outbox
from agent.store.quarantine import quarantine
from agent.store.recorder import GroupRecorder
from agent.store.recovery import RECOVERED, last_closed_window, recover, tell_of_quarantine
from agent.store.results import cameras_of, forget_closed, forget_old
from agent.store.running_mark import RunningMarks, mark_name, read_marks, was_unclean
from agent.store.samples import Samples
from agent.store.status import read_status
from contract.codec import decode_summary
from contract.ids import sample_name
from contract.messages import Accounting, Header, SampleNote, Summary
from contract.sketches.reference import encode_reference
from contract.sketches.window import FEATURES_VERSION, SketchIdentity, empty_window
from contract.sketches.wire import to_wire
from tests.fakes.agent_line import ListLog

CAMERAS = ("left", "right")
SKETCH = to_wire(empty_window(SketchIdentity(FEATURES_VERSION, 1, "", "a" * 64, 4)))


class Store:
    """The store in `folder` as one process has it."""

    def __init__(self, folder: Path, cameras: tuple[str, ...] = CAMERAS, *, outbox_bytes: int = 64 << 20) -> None:
        self.folder, self.path = folder, folder / "agent.sqlite"
        self.connection = open_database(self.path)
        self.outbox = Outbox(self.connection, boot=claim_boot(self.connection, self.path), max_bytes=outbox_bytes)
        self.samples = Samples(self.connection, folder / "samples")
        self.recovered = recover(
            self.connection, self.outbox, self.samples,
            station="s1", monotonic_s=1.0, simulated=False, left=read_marks(folder),
        )  # fmt: skip
        self.marks = RunningMarks(folder, self.outbox.boot, cameras)
        self.recorder = GroupRecorder(
            self.connection, self.outbox, self.samples, ListLog(),
            linger_s=0.0, mark=self.marks, producers=len(cameras),
        )  # fmt: skip

    def stop(self) -> None:
        """End the process without closing what is open, as a crash would, but with everything stored."""
        self.recorder.start()
        assert self.recorder.stop(30.0)
        self.marks.close()

    def summaries(self) -> list[Summary]:
        return [decode_summary(row.payload) for row in self.outbox.pending(10_000)]


@contextmanager
def store(folder: Path, cameras: tuple[str, ...] = CAMERAS, *, outbox_bytes: int = 64 << 20) -> Iterator[Store]:
    made = Store(folder, cameras, outbox_bytes=outbox_bytes)
    try:
        yield made
    finally:
        made.marks.close()
        made.connection.close()


def result(camera: str, window: int, *, at: float = 1_000.0, verdict: str = "PASS") -> Result:
    return Result(window, at, "p", verdict, "", "good", 0.9, 3.0, "b" * 64, camera=camera)


def summary(camera: str, captured: int, *, at: float = 0.0, sketch: bool = False) -> Summary:
    header = Header("s1", "", 0, at, at + 60.0, 3.0, True, "b" * 64, camera=camera)
    return Summary(header, Accounting(captured=captured, passed=captured), SKETCH if sketch else None)


def sample(boot: str, camera: str, window: int, n: int) -> Sample:
    name = sample_name(boot, camera, window, n)
    return Sample(SampleNote(name, float(n), "p", "good", 0.6, "REVIEW", "hard", 0.0), np.zeros((8, 8), np.uint8))


STEPS = st.lists(
    st.tuples(st.sampled_from(CAMERAS), st.sampled_from(["record", "record", "close", "crash"])), max_size=40
)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(STEPS)
def test_every_result_is_counted_once_in_its_cameras_window_however_two_cameras_interleave(
    steps: list[tuple[str, str]],
) -> None:
    recorded: Counter[tuple[str, int]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = Store(folder)
        number = dict.fromkeys(CAMERAS, 1)
        for camera, step in steps:
            if step == "record":
                assert process.recorder.record(result(camera, number[camera]), None)
                recorded[camera, number[camera]] += 1
            elif step == "close" and recorded[camera, number[camera]]:
                assert process.recorder.has_room()
                assert process.recorder.close_window(number[camera], summary(camera, recorded[camera, number[camera]]))
                number[camera] += 1
            elif step == "crash":
                process.stop()
                process.connection.close()
                process = Store(folder)
                number = {each: last_closed_window(process.connection, each) + 1 for each in CAMERAS}
        process.stop()
        process.connection.close()
        with store(folder) as last:
            rows = last.connection.execute("SELECT camera, window, COUNT(*) FROM results GROUP BY camera, window")
            assert {(camera, window): n for camera, window, n in rows} == +recorded
            shipped = last.connection.execute("SELECT camera, window, payload FROM outbox ORDER BY id").fetchall()
            assert Counter((camera, window) for camera, window, _ in shipped) == Counter((+recorded).keys())
            for camera, window, payload in shipped:
                told = decode_summary(payload)
                assert (told.header.camera, told.accounting.captured) == (camera, recorded[camera, window])
                assert told.accounting.closes()
            assert [decode_summary(payload).header.seq for *_, payload in shipped] == list(range(1, len(shipped) + 1))
            assert last.recovered <= len(CAMERAS)


def test_two_threads_never_lose_a_window_they_saw_room_for(tmp_path: Path) -> None:
    refused: list[str] = []
    done: Counter[str] = Counter()
    with store(tmp_path) as made:
        recorder = GroupRecorder(
            made.connection, made.outbox, made.samples, ListLog(), queue_size=8, linger_s=0.0, producers=len(CAMERAS)
        )
        recorder.start()

        def line(camera: str) -> None:
            for window in range(1, 81):
                while not recorder.record(result(camera, window), None):
                    time.sleep(0.0005)  # a thread that spins keeps the interpreter from the recorder
                while not recorder.has_room():
                    time.sleep(0.0005)  # a thread that spins keeps the interpreter from the recorder
                if not recorder.close_window(window, summary(camera, 1)):
                    refused.append(camera)
                done[camera] += 1

        lines = [threading.Thread(target=line, args=(camera,)) for camera in CAMERAS]
        for each in lines:
            each.start()
        for each in lines:
            each.join(120.0)
        assert recorder.stop(60.0)
        assert (refused, done) == ([], Counter(dict.fromkeys(CAMERAS, 80)))
        told = Counter(s.header.camera for s in made.summaries())
        assert told == done
        assert read_status(made.connection).windows == {"left": 80, "right": 80}


def test_each_cameras_open_window_is_told_as_its_own_summary_after_a_crash(tmp_path: Path) -> None:
    with store(tmp_path, ("", *CAMERAS)) as made:
        boot = made.outbox.boot
        made.recorder.record(result("left", 1, at=5.0), sample(boot, "left", 1, 1))
        made.recorder.record(result("right", 1, at=6.0, verdict="REJECT"), sample(boot, "right", 1, 1))
        made.recorder.close_window(1, summary("right", 1))
        for n in range(3):
            made.recorder.record(result("right", 2, at=7.0 + n, verdict="REJECT"), None)
        made.stop()
    left = read_marks(tmp_path)
    assert was_unclean(left) and left["left"].windows[1].frames == 1 and left["right"].windows[2].frames == 3
    with store(tmp_path, ("",)) as again:
        assert again.recovered == 2
        closed, of_left, of_right = again.summaries()
        assert (closed.header.camera, [s.sample for s in closed.samples]) == ("right", [f"{boot}-right-1-1"])
        assert (of_left.header.camera, of_left.accounting) == ("left", Accounting(captured=1, passed=1))
        assert [s.sample for s in of_left.samples] == [f"{boot}-left-1-1"]
        assert (of_right.header.camera, of_right.accounting) == ("right", Accounting(captured=3, rejected=3))
        assert (of_right.header.started_at, of_right.header.ended_at) == (7.0, 9.0)
        assert of_left.note == of_right.note == RECOVERED
        # Those cameras are gone from the station: what they left is told, and not looked at for ever.
        assert set(read_marks(tmp_path)) == {""}
        assert {camera: last_closed_window(again.connection, camera) for camera in ("", *CAMERAS)} == {
            "": 0, "left": 1, "right": 2,
        }  # fmt: skip


def test_frames_that_were_never_stored_are_undecided_of_their_own_camera(tmp_path: Path) -> None:
    with store(tmp_path) as made:
        for camera, frames in (("left", 3), ("right", 5)):
            for n in range(frames):
                made.marks.count(camera, 1, 10.0 + n)
    with store(tmp_path) as again:
        told = {s.header.camera: s for s in again.summaries()}
        assert {camera: s.accounting for camera, s in told.items()} == {
            "left": Accounting(captured=3, undecided=3), "right": Accounting(captured=5, undecided=5),
        }  # fmt: skip
        assert "5 frame(s)" in told["right"].note and told["right"].header.started_at == 10.0
        again.marks.goodbye()
    assert not was_unclean(read_marks(tmp_path))


def test_frames_dropped_before_a_crash_are_told_by_cause_though_no_row_was_ever_written_of_them(tmp_path: Path) -> None:
    with store(tmp_path) as made:
        made.recorder.dropped("left", 1, "backlog", 3, 10.0)
        made.recorder.dropped("left", 1, "backlog", 4, 11.0)
        made.recorder.dropped("left", 1, "skipped", 1, 11.0)
        made.marks.count("left", 1, 12.0)
        made.recorder.dropped("right", 4, "missed_trigger", 2, 20.0)
    with store(tmp_path) as again:
        told = {s.header.camera: s for s in again.summaries()}
        assert {camera: s.accounting for camera, s in told.items()} == {
            "left": Accounting(captured=9, dropped={"backlog": 7, "skipped": 1}, undecided=1),
            "right": Accounting(captured=2, dropped={"missed_trigger": 2}),
        }  # fmt: skip
        assert all(s.accounting.closes() for s in told.values())
        assert (told["left"].header.started_at, told["right"].header.started_at) == (10.0, 20.0)


def test_a_mark_has_the_name_it_always_had_where_a_camera_has_none(tmp_path: Path) -> None:
    assert (mark_name(""), mark_name("left")) == ("running.mark", "running-left.mark")
    (tmp_path / "running-Not A Name.mark").write_bytes(b"x")
    RunningMarks(tmp_path, "b", ("", "left")).close()
    assert set(read_marks(tmp_path)) == {"", "left"}


def test_a_full_outbox_merges_windows_of_one_camera_only(tmp_path: Path) -> None:
    with store(tmp_path, outbox_bytes=30_000) as made:
        for n in range(1, 200):
            for camera, captured in (("left", 1), ("right", 100)):
                with transaction(made.connection):
                    made.outbox.add(summary(camera, captured, at=60.0 * n, sketch=True), n)
        told = made.summaries()
        assert len(told) < 60
        assert any(s.note.startswith("merged: ") and s.window is not None for s in told)
        for camera, captured in (("left", 1), ("right", 100)):
            mine = [s for s in told if s.header.camera == camera]
            assert sum(s.accounting.captured for s in mine) == 199 * captured
            assert all(s.accounting.captured % captured == 0 for s in mine)
            starts = [s.header.started_at for s in mine]
            assert starts == sorted(starts)
        rows = made.connection.execute("SELECT camera, MIN(window) FROM outbox GROUP BY camera").fetchall()
        assert rows == [("left", 1), ("right", 1)]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["", *CAMERAS]), st.booleans()), min_size=1, max_size=80))
def test_over_budget_every_cameras_frames_are_still_accounted_for_exactly_once(steps: list[tuple[str, bool]]) -> None:
    added: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name, store(Path(name), outbox_bytes=6_000) as made:
        for n, (camera, sketch) in enumerate(steps, 1):
            with transaction(made.connection):
                made.outbox.add(summary(camera, n, at=60.0 * n, sketch=sketch), n)
            added[camera] += n
        told: Counter[str] = Counter()
        for each in made.summaries():
            told[each.header.camera] += each.accounting.captured
            assert each.accounting.closes()
        assert told == added


def test_a_gap_record_says_whose_windows_went(tmp_path: Path) -> None:
    with store(tmp_path, outbox_bytes=3_000) as made:
        for n in range(1, 41):
            for camera in ("", "left"):
                with transaction(made.connection):
                    made.outbox.add(summary(camera, 1), n)
        notes = [s.note for s in made.summaries() if s.note.startswith("gap: ")]
        assert any(" of camera left merged" in note for note in notes)
        assert any("camera" not in note for note in notes)


def test_rows_are_kept_until_the_cloud_has_the_window_of_their_own_camera(tmp_path: Path) -> None:
    with store(tmp_path) as made:
        for window in (1, 2):
            for camera in CAMERAS:
                for _ in range(10):
                    made.recorder.record(result(camera, window), None)
                made.recorder.close_window(window, summary(camera, 10))
        made.recorder.record(result("left", 3), None)
        made.stop()
        assert cameras_of(made.connection) == ["left", "right"]

        def rows() -> dict[str, int]:
            return dict(made.connection.execute("SELECT camera, COUNT(*) FROM results GROUP BY camera").fetchall())

        made.outbox.take(10)
        seqs = [s.header.seq for s in made.summaries() if s.header.camera == "right"]
        made.outbox.acknowledge(made.outbox.boot, [(seq, seq) for seq in seqs], 1.0)
        with transaction(made.connection):
            assert forget_old(made.connection, keep_rows=0) == 20
        assert rows() == {"left": 21}
        with transaction(made.connection):
            assert forget_closed(made.connection, 1_000) == 20
        assert rows() == {"left": 1}, "the open window's rows are what a crash is recounted from"


def test_status_finds_what_each_camera_enrolled(tmp_path: Path) -> None:
    with store(tmp_path) as made:
        memory = SqliteMemory(made.connection)
        for name, value in (("reference", "one"), ("reference:left", "two"), ("reference_of_another_kind", "x")):
            memory.put(name, value)
        assert read_status(made.connection).references == {"": "one", "left": "two"}


def test_a_quarantine_saves_every_cameras_reference_and_tells_each_cameras_lost_frames(tmp_path: Path) -> None:
    from contract.sketches.enrolment import Enrolment
    from contract.sketches.frame_stats import frame_stats

    enrolment = Enrolment(2)
    for level in (100, 110):
        enrolment.add(frame_stats(np.full((64, 64), level, np.uint8)))
    reference = encode_reference(enrolment.reference()).decode()
    with store(tmp_path) as made:
        SqliteMemory(made.connection).put("reference:left", reference)
        SqliteMemory(made.connection).put("reference:right", "no reference at all")
        made.marks.count("left", 1, 1.0)
        made.marks.count_dropped("left", 1, "backlog", 5, 1.0)
        made.marks.count("right", 1, 1.0)
        made.marks.count("right", 1, 1.0)
    lost = quarantine(tmp_path / "agent.sqlite", "told", now=1.0, keep_bytes=1 << 30)
    assert lost.facts == {"reference:left": reference}
    with closing(open_database(tmp_path / "agent.sqlite")) as connection:
        outbox = Outbox(connection, boot="new")
        tell_of_quarantine(
            connection, outbox, lost,
            station="s1", now=1.0, monotonic_s=1.0, simulated=False, left=read_marks(tmp_path),
        )  # fmt: skip
        told = [decode_summary(row.payload) for row in outbox.pending(10)]
        assert [(s.header.camera, s.accounting.undecided) for s in told] == [("", 0), ("left", 1), ("right", 2)]
        assert [s.accounting.dropped for s in told] == [{}, {"backlog": 5}, {}]
        assert all(s.accounting.closes() for s in told)
        assert SqliteMemory(connection).get("reference:left") == reference


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """A file as an agent of schema 2 left it: window 1 closed and waiting, window 2 open."""
    path = tmp_path / "agent.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    migrations.apply(Database(connection), stop_before="0003_cameras")
    connection.execute("PRAGMA user_version = 2")
    insert = "INSERT INTO results (window, captured_at, part, verdict, cause, label, confidence, latency_ms, bundle,"
    for window in (1, 1, 2):
        values = f" asked_cloud, cloud_answer) VALUES ({window}, 7.0, 'p', 'PASS', '', 'good', 0.9, 3.0, 'b', 0, 0)"
        connection.execute(insert + values)
    payload = b"a summary of an older agent"
    connection.execute(
        "INSERT INTO outbox (boot, seq, window, bytes, payload) VALUES ('old', 1, 1, ?, ?)", (len(payload), payload)
    )
    connection.execute(
        "INSERT INTO samples (sample, window, captured_at, part, label, confidence, verdict, reason, inclusion, bytes)"
        " VALUES ('old-2-0', 2, 7.0, 'p', 'good', 0.6, 'REVIEW', 'hard', 0.0, 10)"
    )
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "old-2-0.png").write_bytes(b"0123456789")
    for name, value in (("closed_window", "1"), ("next_seq", "2"), ("reference", "kept")):
        connection.execute("INSERT INTO memory VALUES (?, ?)", (name, value))
    connection.close()
    return path


def test_a_schema_2_file_is_taken_over_with_every_row_as_the_first_cameras(old_file: Path) -> None:
    with store(old_file.parent, ("",)) as made:
        assert made.connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        rows = made.connection.execute("SELECT camera, window, COUNT(*) FROM results GROUP BY camera, window")
        assert rows.fetchall() == [("", 1, 2), ("", 2, 1)]
        waiting = made.outbox.pending(10)
        assert (waiting[0].boot, waiting[0].seq, waiting[0].payload) == ("old", 1, b"a summary of an older agent")
        recovered = decode_summary(waiting[1].payload)
        assert made.recovered == 1 and recovered.header.camera == "" and recovered.accounting.passed == 1
        assert [s.sample for s in recovered.samples] == ["old-2-0"]
        assert SqliteMemory(made.connection).get("reference") == "kept"
        assert last_closed_window(made.connection) == 2
        # And a second camera starts beside it at its own window 1.
        assert last_closed_window(made.connection, "left") == 0


def test_windows_of_a_camera_are_found_by_an_index_alone(old_file: Path) -> None:
    with closing(open_database(old_file)) as connection:
        question = "EXPLAIN QUERY PLAN SELECT DISTINCT window FROM results WHERE camera = ? AND window > ?"
        plan = " ".join(str(row[3]) for row in connection.execute(question, ("left", 0)))
        assert "results_camera_window" in plan and "SEARCH" in plan


def test_samples_of_an_older_file_have_no_novelty_to_tell(old_file: Path) -> None:
    with store(old_file.parent, ("",)) as made:
        assert made.connection.execute("SELECT sample, novelty FROM samples").fetchall() == [("old-2-0", 0.0)]
