"""Clones, restored backups, damaged rows and small brokers: what an outbox holds is counted once, under a name of its own (P1)."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.decide import covers
from agent.delivery import Delivery
from agent.ports.link import Room
from agent.store.boots import claimed_above
from agent.store.database import claim_boot, open_database, transaction
from agent.store.outbox import Outbox
from agent.store.outbox_row import Signer
from contract.codec import decode_summary
from contract.gaps import gap_key, is_gap_signed
from contract.messages import Accounting, Ack, Header, SampleNote, Summary
from contract.sketches.window import FEATURES_VERSION, SketchIdentity, empty_window
from contract.sketches.wire import to_wire
from tests.fakes.cloud_dedupe import DedupingCloud

KEY = gap_key("a token")
SKETCH = to_wire(empty_window(SketchIdentity(FEATURES_VERSION, 1, "", "a" * 64, 4)))
_START = 1_795_200_000.0


def summary(captured: int, number: int, camera: str = "", notes: int = 0) -> Summary:
    at = _START + number * 60.0
    header = Header("s1", "", 0, at, at + 60.0, 5.0, True, "a" * 64, camera=camera)
    samples = tuple(SampleNote(f"b-{number}-{n}", at, "p", "good", 0.5, "REVIEW", "hard", 1.0) for n in range(notes))
    return Summary(header, Accounting(captured=captured, passed=captured), SKETCH, samples)


class Device:
    """A home with an outbox, and what delivers it. `looks_like` opens a copy that claim_boot takes for the original."""

    def __init__(self, folder: Path, *, max_bytes: int = 1 << 24, looks_like: Path | None = None) -> None:
        self.path = folder / "agent.sqlite"
        self.connection = open_database(self.path)
        if looks_like is not None:
            # As an image of the whole disk: same inode, same machine, same life.
            machine, _, _ = self.fact("home").rpartition(":")
            self.connection.execute(
                "UPDATE memory SET value = ? WHERE name = 'home'", (f"{machine}:{self.path.stat().st_ino}",)
            )
        boot = claim_boot(self.connection, self.path)
        self.new_boots: list[str] = []
        self.outbox = Outbox(
            self.connection,
            boot=boot,
            max_bytes=max_bytes,
            signer=Signer(KEY, "s1"),
            on_new_boot=self.new_boots.append,
        )
        self.delivery = Delivery(self.outbox, resend_after_s=5.0)
        self.now = 0.0
        self.produced = 0

    def fact(self, name: str) -> str:
        row = self.connection.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def add(self, captured: int, number: int, camera: str = "", notes: int = 0) -> int:
        with transaction(self.connection):
            seq = self.outbox.add(summary(captured, number, camera, notes), number)
        self.produced += captured
        return seq

    def drain(self, cloud: DedupingCloud, *, lose_acks: bool = False) -> None:
        """Send everything, hearing the answers, until nothing is left."""
        for _ in range(200):
            self.now += 400.0
            rows = self.delivery.next_rows(Room(20), self.now)
            for ack in cloud.takes(rows):
                if not lose_acks:
                    self.delivery.acknowledged(ack, self.now)
            if lose_acks or not self.outbox.depth():
                return

    def close(self) -> None:
        self.connection.close()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def device(stack: ExitStack, folder: Path, **how: object) -> Device:
    made = Device(folder, **how)  # type: ignore[arg-type]
    stack.callback(made.close)
    return made


def test_a_copy_that_nothing_on_its_disk_betrays_is_told_apart_by_the_cloud(tmp_path: Path, opened: ExitStack) -> None:
    cloud = DedupingCloud()
    first = Device(tmp_path / "first")
    for number in range(1, 7):
        first.add(1, number)
    first.drain(cloud, lose_acks=True)  # sent and committed, and never heard of it
    first.close()
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    original = device(opened, tmp_path / "first")
    copy = device(opened, tmp_path / "copy", looks_like=tmp_path / "first")
    assert original.outbox.boot == copy.outbox.boot
    for number in range(7, 12):
        original.add(10, number)
        copy.add(100, number)
    for _ in range(3):
        original.drain(cloud)
        copy.drain(cloud)
    assert original.outbox.depth() == copy.outbox.depth() == 0
    assert cloud.captured == 6 + 5 * 10 + 5 * 100
    assert copy.outbox.boot != original.outbox.boot and copy.new_boots == [copy.outbox.boot]
    copy.add(1_000, 12)
    original.add(10_000, 12)
    for each in (copy, original):
        each.drain(cloud)
    assert cloud.captured == 6 + 50 + 500 + 11_000


def test_a_copied_home_beside_the_original_counts_what_both_hold_once(tmp_path: Path, opened: ExitStack) -> None:
    cloud = DedupingCloud()
    first = Device(tmp_path / "first")
    for number in range(1, 7):
        first.add(1, number)
    first.outbox.take(3)
    first.close()
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    original, copy = device(opened, tmp_path / "first"), device(opened, tmp_path / "copy")
    original.add(10, 7)
    copy.add(100, 7)
    for each in (original, copy, original):
        each.drain(cloud)
    assert cloud.captured == 6 + 110 and original.outbox.depth() == copy.outbox.depth() == 0


def test_a_backup_restored_in_place_goes_on_under_a_boot_of_its_own(tmp_path: Path, opened: ExitStack) -> None:
    cloud = DedupingCloud()
    first = Device(tmp_path)
    for number in range(1, 4):
        first.add(1, number)
    first.close()
    backup = first.path.read_bytes()
    life = first.path.with_suffix(".life").read_bytes()
    later = Device(tmp_path)
    later.add(10, 4)
    later.drain(cloud)
    boot = later.outbox.boot
    later.close()
    first.path.write_bytes(backup)
    first.path.with_suffix(".life").write_bytes(life)  # the whole disk was restored: nothing here tells
    restored = device(opened, tmp_path)
    assert restored.outbox.boot == boot
    restored.add(100, 4)
    assert restored.outbox.next_seq() == 5, "which the cloud has had already: it asks for another boot"
    assert restored.delivery.acknowledged(Ack("s1", boot, (), 20, renew_boot=True), 1.0).new_boot
    assert restored.add(1_000, 5) == 2, "the row added since the start took the first name of the new boot"
    restored.drain(cloud)
    assert cloud.captured == 3 + 10 + 100 + 1_000 and restored.outbox.depth() == 0


def test_late_and_repeated_answers_change_nothing(tmp_path: Path, opened: ExitStack) -> None:
    made = device(opened, tmp_path)
    for number in range(1, 4):
        made.add(1, number)
    boot = made.outbox.boot
    made.delivery.next_rows(Room(20), 0.0)
    conflict = Ack("s1", boot, ((1, 1),), 20, conflicts=((2, 2),))
    assert made.delivery.acknowledged(conflict, 1.0).renamed == 1
    renamed_to, rows = made.outbox.boot, made.outbox.pending(9)
    for late in (conflict, Ack("s1", boot, (), 20, renew_boot=True), Ack("s1", boot, (), 20, conflicts=((1, 2),))):
        answered = made.delivery.acknowledged(late, 2.0)
        assert (answered.deleted, answered.renamed, answered.new_boot) == (0, 0, False)
    assert made.outbox.pending(9) == rows and made.outbox.boot == renamed_to
    assert [(row.boot, row.seq) for row in rows] == [(renamed_to, 1), (boot, 3)]
    assert decode_summary(rows[0].payload).note.startswith(f"was 2 of boot {boot}")


def test_a_renamed_row_covers_nothing_and_its_gap_is_signed_anew(tmp_path: Path, opened: ExitStack) -> None:
    made = device(opened, tmp_path, max_bytes=12_000)
    for number in range(1, 300):
        made.add(1, number * 100)  # too far apart for an hour: gap records
    made.delivery.next_rows(Room(20), 0.0)
    gaps = [s for row in made.outbox.take(9) if (s := decode_summary(row.payload)).gap is not None]
    assert gaps and all(is_gap_signed(s, KEY) and s.covers for s in gaps)
    seq = gaps[0].header.seq
    made.delivery.acknowledged(Ack("s1", made.outbox.boot, (), 20, conflicts=((seq, seq),)), 1.0)
    (again,) = [s for row in made.outbox.pending(999) if (s := decode_summary(row.payload)).note.startswith("was ")]
    assert again.covers == () and is_gap_signed(again, KEY) and again.accounting == gaps[0].accounting
    assert again.gap is not None and gaps[0].gap is not None and again.gap.windows == gaps[0].gap.windows


_KILLED = """
import os, signal, sys
from pathlib import Path
from agent.store.database import open_database
from agent.store.outbox import Outbox
home, boot, step = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
connection = open_database(home / "agent.sqlite")
seen = 0
def count(statement):
    global seen
    seen += 1
    if seen == step:
        os.kill(os.getpid(), signal.SIGKILL)
connection.set_trace_callback(count)
Outbox(connection, boot=boot).rename(boot, [(1, 3)])
print("done")
"""


def test_killed_at_any_statement_of_a_renaming_leaves_all_names_old_or_all_new(tmp_path: Path) -> None:
    first = Device(tmp_path / "first")
    for number in range(1, 4):
        first.add(1, number)
    first.outbox.take(9)
    boot = first.outbox.boot
    first.close()
    ended = ""
    for step in itertools.count(1, 6):
        home = tmp_path / str(step)
        shutil.copytree(tmp_path / "first", home)
        child = subprocess.run(
            [sys.executable, "-c", _KILLED, str(home), boot, str(step)], capture_output=True, text=True, check=False
        )
        connection = open_database(home / "agent.sqlite")
        boots = {row.boot for row in Outbox(connection, boot=boot).pending(9)}
        (now,) = connection.execute("SELECT value FROM memory WHERE name = 'boot'").fetchone()
        connection.close()
        assert child.returncode in (0, -signal.SIGKILL), child.stderr
        assert boots == {now}
        ended = child.stdout.strip()
        if ended:
            assert now != boot
            break
    assert ended == "done" and step > 12


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "add", "far", "send", "answer", "shrink", "reconnect"]), st.integers(1, 9)),
        max_size=60,
    )
)
def test_what_was_produced_is_what_was_shipped_and_what_that_covers(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made, cloud = Device(Path(folder), max_bytes=20_000), DedupingCloud()
        waiting: list[Ack] = []
        number, produced = 0, 0
        for step, n in steps:
            if step in ("add", "far"):
                for each in range(n):
                    number += 100 if step == "far" else 1
                    made.add(1, number, camera=("", "left", "right")[(n + each) % 3])
                    produced += 1
            elif step == "send":
                waiting += cloud.takes(made.delivery.next_rows(Room(n), made.now))
            elif step == "answer":
                made.now += 7.0
                for ack in waiting[: n // 2]:
                    made.delivery.acknowledged(ack, 1.0)
                del waiting[:n]  # the others are lost
            elif step == "shrink":
                with transaction(made.connection):
                    made.outbox.shrink(n * 1_000)
            else:
                made.delivery.reconnected()
        made.delivery.reconnected()
        made.drain(cloud)
        assert made.outbox.depth() == 0
        assert cloud.captured == made.produced and cloud.windows() == produced
        named = [(s.header.seq, s.header.seq) for s in cloud.committed.values()]
        covered = [each for s in cloud.committed.values() for each in s.covers]
        assert covers.join([*named, *covered]) == (((1, produced),) if produced else ())
        gaps = [s for s in cloud.committed.values() if s.gap is not None]
        assert all(is_gap_signed(s, KEY) for s in gaps)
        assert all(s.window is not None or s.gap is not None for s in cloud.committed.values())
        made.close()


@pytest.mark.parametrize("sent_before", [False, True])
def test_a_row_with_a_flipped_bit_is_told_as_a_signed_gap_and_never_sent_as_it_is(
    tmp_path: Path, opened: ExitStack, sent_before: bool
) -> None:
    made, cloud = device(opened, tmp_path), DedupingCloud()
    for number in range(1, 4):
        made.add(1, number)
    if sent_before:
        made.outbox.take(9)
    payload = bytearray(made.outbox.pending(9)[1].payload)
    payload[-3] ^= 0x10
    made.connection.execute("UPDATE outbox SET payload = ? WHERE seq = 2", (bytes(payload),))
    made.drain(cloud)
    told = cloud.committed["s1", made.outbox.boot, 2]
    assert told.gap is not None and told.gap.windows == 1 and is_gap_signed(told, KEY) and told.window is None
    assert cloud.captured == 2 and told.header.started_at > _START
    assert made.connection.execute("SELECT seq, payload FROM damaged_rows").fetchall() == [(2, bytes(payload))]
    assert made.connection.execute("SELECT untold FROM drops").fetchall() == [(1,)]
    assert any("damaged" in line for line in made.delivery.troubles())


def test_a_damaged_row_does_not_stop_the_merging_of_the_others(tmp_path: Path, opened: ExitStack) -> None:
    made, cloud = device(opened, tmp_path), DedupingCloud()
    for number in range(1, 9):
        made.add(1, number)
    made.connection.execute("UPDATE outbox SET payload = zeroblob(bytes) WHERE seq = 3")
    with transaction(made.connection):
        made.outbox.shrink(1 << 30)
    made.drain(cloud)
    assert cloud.captured == 7 and cloud.windows() == 8


def test_what_was_committed_before_its_row_was_damaged_is_not_counted_again(tmp_path: Path, opened: ExitStack) -> None:
    made, cloud = device(opened, tmp_path), DedupingCloud()
    made.add(5, 1)
    made.drain(cloud, lose_acks=True)
    made.connection.execute("UPDATE outbox SET payload = zeroblob(bytes)")
    made.delivery.reconnected()
    made.drain(cloud)
    assert made.outbox.depth() == 0 and cloud.captured == 5 and len(cloud.committed) == 1


def test_a_summary_larger_than_the_broker_takes_goes_with_fewer_notes_or_as_a_gap(
    tmp_path: Path, opened: ExitStack
) -> None:
    made = device(opened, tmp_path)
    made.add(7, 1, notes=40)
    (whole,) = [len(row.payload) for row in made.outbox.pending(1)]
    (row,) = made.delivery.next_rows(Room(20, 20, whole - 1_000), 0.0)
    fewer = decode_summary(row.payload)
    assert len(row.payload) <= whole - 1_000 and fewer.window is not None and 0 < len(fewer.samples) < 40
    made.delivery.reconnected()
    (row,) = made.delivery.next_rows(Room(20, 20, 1_000), 0.0)
    bare = decode_summary(row.payload)
    assert len(row.payload) <= 1_000 and bare.window is None and is_gap_signed(bare, KEY)
    assert bare.accounting.captured == 7
    assert made.connection.execute("SELECT SUM(untold) FROM drops").fetchone() == (2,)
    made.delivery.reconnected()
    assert made.delivery.next_rows(Room(20, 20, 50), 0.0) == [], "and what even so is too large stays"
    assert made.outbox.depth() == 1


def test_a_row_that_was_made_smaller_after_it_was_committed_is_not_counted_again(
    tmp_path: Path, opened: ExitStack
) -> None:
    made, cloud = device(opened, tmp_path), DedupingCloud()
    made.add(7, 1)
    made.drain(cloud, lose_acks=True)
    made.delivery.reconnected()
    for ack in cloud.takes(made.delivery.next_rows(Room(20, 20, 1_000), 1.0)):
        made.delivery.acknowledged(ack, 1.0)
    assert made.outbox.depth() == 0 and cloud.captured == 7


def test_rows_of_an_older_agent_have_no_checksum_and_go_all_the_same(tmp_path: Path, opened: ExitStack) -> None:
    made, cloud = device(opened, tmp_path), DedupingCloud()
    made.add(3, 1)
    made.add(4, 2)
    made.connection.execute("UPDATE outbox SET crc = NULL")
    made.connection.execute("UPDATE outbox SET payload = substr(payload, 1, 40) WHERE seq = 2")
    made.drain(cloud)
    assert cloud.captured == 3 and len(cloud.committed) == 2


def test_what_a_process_claims_is_what_lay_there(tmp_path: Path, opened: ExitStack) -> None:
    made = device(opened, tmp_path)
    made.add(1, 1)
    made.close()
    again = device(opened, tmp_path)
    assert claimed_above(again.connection) == 1


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9))))
def test_ranges_say_the_same_numbers_in_as_few_words_as_can_be(spans: list[tuple[int, int]]) -> None:
    ranges = [(first, first + more) for first, more in spans]
    numbers = {n for first, last in ranges for n in range(first, last + 1)}
    joined = covers.join(ranges)
    assert {n for first, last in joined for n in range(first, last + 1)} == numbers
    assert covers.count(joined) == len(numbers) and covers.from_text(covers.to_text(joined)) == joined
    assert all(after[0] > before[1] + 1 for before, after in itertools.pairwise(joined))
