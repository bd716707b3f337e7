"""A station that got another token: its gap records that wait are its own still (contract.gaps)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.store.database import claim_boot, open_database, transaction
from agent.store.gap_signatures import sign_anew
from agent.store.outbox import Outbox
from agent.store.outbox_row import Signer
from contract.codec import decode_summary
from contract.gaps import gap_key, is_gap_signed
from contract.messages import Accounting, GapNote, Header, Summary

OLD, NEW = gap_key("old token"), gap_key("new token")
GAP, PLAIN = GapNote(1, "no room"), None


@pytest.fixture
def home(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_database(tmp_path / "agent.sqlite")
    yield connection
    connection.close()


def _filled(connection: sqlite3.Connection, tmp_path: Path) -> Outbox:
    outbox = Outbox(connection, boot=claim_boot(connection, tmp_path / "agent.sqlite"), signer=Signer(OLD, "s1"))
    for number, gap in enumerate((GAP, PLAIN, GAP)):
        header = Header("s1", "", 0, 60.0 * number, 60.0 * number + 60.0, 1.0, True, "a" * 64)
        with transaction(connection):
            outbox.add(Summary(header, Accounting(captured=number), note="n", gap=gap), number)
    return outbox


def test_what_waits_is_signed_with_the_new_key_once(home: sqlite3.Connection, tmp_path: Path) -> None:
    outbox = _filled(home, tmp_path)
    assert sign_anew(home, Signer(OLD, "s1")) == 0
    before = [decode_summary(row.payload) for row in outbox.pending(10)]
    assert sign_anew(home, Signer(NEW, "s1")) == 2
    after = [decode_summary(row.payload) for row in outbox.pending(10)]
    assert [each.gap is not None and is_gap_signed(each, NEW) for each in after] == [True, False, True]
    assert [(e.header, e.accounting, e.note) for e in before] == [(e.header, e.accounting, e.note) for e in after]
    assert sign_anew(home, Signer(NEW, "s1")) == sign_anew(home, Signer(None, "s1")) == 0


def test_what_the_cloud_has_under_the_old_signature_is_not_told_twice(home: sqlite3.Connection, tmp_path: Path) -> None:
    outbox = _filled(home, tmp_path)
    sent = outbox.take(1)[0]
    assert sign_anew(home, Signer(NEW, "s1")) == 2
    # The cloud has the row as it was sent first, and says that its name is taken by other content.
    assert outbox.rename(sent.boot, [(sent.seq, sent.seq)]) == 0
    assert [row.seq for row in outbox.pending(10)] == [sent.seq + 1, sent.seq + 2]


def test_a_damaged_row_is_left_to_be_found(home: sqlite3.Connection, tmp_path: Path) -> None:
    outbox = _filled(home, tmp_path)
    home.execute("UPDATE outbox SET payload = ? WHERE id = (SELECT MIN(id) FROM outbox)", (b"rotten",))
    assert sign_anew(home, Signer(NEW, "s1")) == 1
    assert outbox.pending(1)[0].payload == b"rotten"
