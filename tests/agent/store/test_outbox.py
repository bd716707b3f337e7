"""The outbox: names never reused, rows leave only by acknowledgement, and counts survive a full budget (P1, P4)."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.store.database import claim_boot, open_database, transaction
from agent.store.outbox import Outbox
from contract.codec import decode_summary
from contract.errors import InvalidConfig, NotFound
from contract.messages import Accounting, Header, Summary
from contract.sketches.window import FEATURES_VERSION, SketchIdentity, WindowWire, empty_window
from contract.sketches.wire import to_wire


def summary(captured: int) -> Summary:
    header = Header("s1", "", 0, 100.0, 160.0, 5.0, True, "a" * 64)
    return Summary(header, Accounting(captured=captured, passed=captured), note="x" * 200)


@contextmanager
def outbox(folder: Path, *, max_bytes: int = 1 << 20) -> Iterator[Outbox]:
    path = folder / "agent.sqlite"
    connection = open_database(path)
    try:
        yield Outbox(connection, boot=claim_boot(connection, path), max_bytes=max_bytes)
    finally:
        connection.close()


def add(box: Outbox, captured: int, window: int) -> int:
    with transaction(box._connection):
        return box.add(summary(captured), window)


def test_a_row_carries_its_own_name_and_leaves_only_when_it_was_sent_and_acknowledged(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        assert [add(box, n, n) for n in (1, 2, 3)] == [1, 2, 3]
        rows = box.pending(10)
        headers = [decode_summary(row.payload).header for row in rows]
        assert [(h.boot, h.seq) for h in headers] == [(box.boot, 1), (box.boot, 2), (box.boot, 3)]
        assert box.acknowledge(box.boot, [(1, 3)], 1.0) == []  # nothing was sent: it cannot be ours they mean
        assert box.take(10) == rows
        assert box.acknowledge("another boot", [(1, 3)], 1.0) == []
        assert box.acknowledge(box.boot, [(2, 2), (7, 9)], 1.0) == [2]
        assert [row.seq for row in box.pending(10)] == [1, 3]


def test_sequence_numbers_go_on_after_everything_was_acknowledged_and_the_agent_restarted(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        add(box, 1, 1)
        box.take(1)
        box.acknowledge(box.boot, [(1, 1)], 1.0)
        boot = box.boot
    with outbox(tmp_path) as box:
        assert (box.boot, add(box, 1, 2)) == (boot, 2)


def test_a_copied_outbox_gets_a_boot_of_its_own_and_still_ships_what_it_holds(tmp_path: Path) -> None:
    with outbox(tmp_path / "first") as box:
        add(box, 1, 1)
        boot = box.boot
    shutil.copytree(tmp_path / "first", tmp_path / "clone")
    with outbox(tmp_path / "clone") as clone:
        assert clone.boot != boot
        assert add(clone, 1, 2) == 1
        assert [(row.boot, row.seq) for row in clone.pending(10)] == [(boot, 1), (clone.boot, 1)]


def test_an_outbox_restored_in_place_from_a_backup_gets_a_new_boot(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        boot = box.boot
    backup = (tmp_path / "agent.sqlite").read_bytes()
    with outbox(tmp_path) as box:
        assert box.boot == boot
        add(box, 1, 1)
    with (tmp_path / "agent.sqlite").open("r+b") as file:  # the same inode
        file.truncate()
        file.write(backup)
    with outbox(tmp_path) as box:
        assert box.boot != boot


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "agent.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(InvalidConfig, match="cannot be opened"):
        open_database(tmp_path / "agent.sqlite")


def test_a_database_of_a_newer_agent_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.sqlite"
    open_database(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(InvalidConfig, match="newer agent"):
        open_database(path)


def test_reading_a_station_that_never_ran_says_so(tmp_path: Path) -> None:
    from agent.store.database import open_read_only

    with pytest.raises(NotFound, match="no station data"):
        open_read_only(tmp_path / "agent.sqlite")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "send", "ack"]), st.integers(1, 30)), max_size=60))
def test_over_budget_every_frame_is_still_accounted_for_exactly_once(steps: list[tuple[str, int]]) -> None:
    added = delivered = 0
    seen: set[tuple[str, int]] = set()
    with tempfile.TemporaryDirectory() as folder, outbox(Path(folder), max_bytes=3_000) as box:

        def deliver(limit: int) -> None:
            nonlocal delivered
            for row in box.take(limit):
                if (row.boot, row.seq) not in seen:
                    seen.add((row.boot, row.seq))
                    delivered += decode_summary(row.payload).accounting.captured

        for window, (step, n) in enumerate(steps, 1):
            if step == "add":
                add(box, n, window)
                added += n
            elif step == "send":
                deliver(n)
            else:
                box.acknowledge(box.boot, [(seq, seq) for _, seq in sorted(seen)[:n]], 1.0)
        deliver(10_000)
        assert delivered == added


def test_a_gap_record_names_the_range_it_stands_for(tmp_path: Path) -> None:
    with outbox(tmp_path, max_bytes=3_000) as box:
        for n in range(1, 41):
            add(box, 1, n)
        first = decode_summary(box.pending(1)[0].payload)
        assert first.note.startswith("gap: summaries 1-")
        assert first.accounting.captured == first.header.seq
        assert first.window is None


def test_a_row_that_was_taken_to_be_sent_is_never_merged_away(tmp_path: Path) -> None:
    with outbox(tmp_path, max_bytes=3_000) as box:
        for n in range(1, 4):
            add(box, 1, n)
        taken = box.take(10)
        for n in range(4, 41):
            add(box, 1, n)
        assert box.pending(3) == taken


SKETCH = to_wire(empty_window(SketchIdentity(FEATURES_VERSION, 1, "", "a" * 64, 4)))


@pytest.mark.parametrize("window", [None, SKETCH])
def test_a_merged_record_is_believed_only_if_every_clock_in_it_was(tmp_path: Path, window: WindowWire | None) -> None:
    def unsure(box: Outbox, number: int, started_at: float, synced: bool) -> None:
        header = Header("s1", "", 0, started_at, started_at + 60.0, 5.0, synced, "a" * 64)
        with transaction(box._connection):
            box.add(Summary(header, Accounting(captured=1, passed=1), window, note="x" * 200), number)

    with outbox(tmp_path) as box:
        unsure(box, 1, 1_795_200_000.0, True)
        unsure(box, 2, 1_795_200_060.0, False)
        unsure(box, 3, 1_795_200_120.0, True)
        unsure(box, 4, 1_795_200_180.0, True)
        with transaction(box._connection):
            assert box.shrink(1)
        merged = decode_summary(box.pending(1)[0].payload)
        assert merged.accounting.captured >= 2 and merged.header.clock_synced is False


def test_windows_of_1970_and_of_now_are_never_merged_into_one(tmp_path: Path) -> None:
    starts = (1_795_200_000.0, 100.0, 160.0, 1_795_200_060.0)
    with outbox(tmp_path) as box:
        for number, started_at in enumerate(starts, 1):
            header = Header("s1", "", 0, started_at, started_at + 60.0, 5.0, True, "a" * 64)
            with transaction(box._connection):
                box.add(Summary(header, Accounting(captured=1, passed=1), SKETCH), number)
        with transaction(box._connection):
            box.shrink(1)
        told = [decode_summary(row.payload) for row in box.pending(9)]
        spans = [(s.header.started_at, s.header.ended_at) for s in told]
        assert spans == [
            (1_795_200_000.0, 1_795_200_060.0),
            (100.0, 220.0),
            (1_795_200_060.0, 1_795_200_120.0),
        ]
