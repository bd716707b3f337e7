"""One row of the outbox, written with a checksum and read with suspicion: flash flips bits, and SQLite does not look (P1)."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.decide import covers
from agent.store.quarantine import keep_damaged_row
from agent.store.results import count_window
from contract.codec import decode_summary, encode_summary
from contract.errors import BadMessage
from contract.gaps import sign_gap
from contract.messages import Accounting, GapNote, Header, Summary

NEVER, SENT, SENT_OTHERWISE = 0, 1, 2
"""The `sent` column. SENT_OTHERWISE: after it may have been sent, it was made smaller or a gap record, so that what the cloud has
under its name may be itself."""
_DAMAGED = "damaged on the station's disk"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs gap records with the station's key (`contract.gaps`); without a key they go unsigned. `station` names the sender of
    a record that can no longer be read.
    """

    key: bytes | None = None
    station: str = ""

    def sign(self, summary: Summary) -> Summary:
        """Return `summary`, its gap signed if it has one."""
        return sign_gap(summary, self.key) if self.key is not None else summary


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row as it lies in the table."""

    id: int
    boot: str
    seq: int
    window: int
    camera: str
    sent: int
    covers: str
    crc: int | None
    payload: bytes

    def sound(self) -> bool:
        """Return whether the payload is what was written; of a row older than the checksums, whether it decodes."""
        if self.crc is not None:
            return zlib.crc32(self.payload) == self.crc
        try:
            header = decode_summary(self.payload).header
        except BadMessage:
            return False
        return (header.boot, header.seq) == (self.boot, self.seq)


def read_row(connection: sqlite3.Connection, row_id: int) -> StoredRow | None:
    """Return the row, None when it is gone."""
    row = connection.execute(
        "SELECT id, boot, seq, window, camera, sent, covers, crc, payload FROM outbox WHERE id = ?", (row_id,)
    ).fetchone()
    if row is None:
        return None
    stored = StoredRow(*row)
    # A column whose type was damaged too holds whatever it holds.
    return stored if isinstance(stored.payload, bytes) else replace(stored, payload=str(stored.payload).encode())


def find_named(
    connection: sqlite3.Connection, boot: str, ranges: Sequence[tuple[int, int]], contents: Sequence[int]
) -> list[tuple[int, int]]:
    """Return (id, `sent`) of the rows that an answer of the cloud is about: sent, in these ranges of `boot`, with these contents.

    `contents` has the CRC-32 of a payload for each sequence of `ranges`, in order: a row with another is not meant, a clone's is.
    () means any content; a row that may have been sent with other content than it has now, or is older than the checksums, is
    meant by its name.
    """
    found: list[tuple[int, int]] = []
    before = 0
    for first, last in ranges:
        # `sent`: an answer about what we never sent is not about our rows.
        for row_id, seq, sent, crc in connection.execute(
            "SELECT id, seq, sent, crc FROM outbox WHERE boot = ? AND seq BETWEEN ? AND ? AND sent != ? ORDER BY id",
            (boot, first, last, NEVER),
        ):
            known = crc is not None and sent != SENT_OTHERWISE
            if not contents or not known or contents[before + seq - first] == crc:
                found.append((int(row_id), int(sent)))
        before += last - first + 1
    return list(dict.fromkeys(found))


def insert(connection: sqlite3.Connection, summary: Summary, window: int) -> None:
    """Store a new row. The caller holds the transaction."""
    header, payload = summary.header, encode_summary(summary)
    connection.execute(
        "INSERT INTO outbox (boot, seq, window, bytes, payload, camera, crc, covers) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            header.boot,
            header.seq,
            window,
            len(payload),
            payload,
            header.camera,
            zlib.crc32(payload),
            covers.to_text(summary.covers),
        ),
    )


def rewrite(connection: sqlite3.Connection, row_id: int, summary: Summary, *, sent: int, window: int) -> int:
    """Put `summary` in the place of the row's content and name; return its size in bytes. The caller holds the transaction."""
    header, payload = summary.header, encode_summary(summary)
    connection.execute(
        "UPDATE outbox SET boot = ?, seq = ?, payload = ?, bytes = ?, crc = ?, covers = ?, sent = ?, window = ? WHERE id = ?",
        (
            header.boot,
            header.seq,
            payload,
            len(payload),
            zlib.crc32(payload),
            covers.to_text(summary.covers),
            sent,
            window,
            row_id,
        ),
    )
    return len(payload)


def load(connection: sqlite3.Connection, row_id: int, signer: Signer, troubles: list[str]) -> Summary | None:
    """Return the summary of a row, None when it is gone. A damaged one is set aside and becomes a gap record, in place.

    The caller holds the transaction. What was found is said in `troubles`.
    """
    row = read_row(connection, row_id)
    if row is None:
        return None
    if row.sound():
        try:
            return decode_summary(row.payload)
        except BadMessage:
            pass  # written by a newer agent, or never right
    record = signer.sign(_record_of_damaged(connection, row, signer.station))
    keep_damaged_row(connection, row.boot, row.seq, row.payload)
    rewrite(connection, row.id, record, sent=SENT_OTHERWISE if row.sent != NEVER else NEVER, window=row.window)
    count_drop(connection, "summaries (damaged on the disk)")
    troubles.append(f"summary {row.seq} of boot {row.boot} is damaged on the disk: told as a gap, and set aside")
    return record


def count_drop(connection: sqlite3.Connection, cause: str) -> None:
    """Count one thing let go, for the next summary to tell. The caller holds the transaction."""
    connection.execute(
        "INSERT INTO drops VALUES (?, 1, 1) ON CONFLICT (cause) DO UPDATE SET total = total + 1, untold = untold + 1",
        (cause,),
    )


def _record_of_damaged(connection: sqlite3.Connection, row: StoredRow, station: str) -> Summary:
    covered = covers.from_text(row.covers)
    started_at, ended_at = connection.execute(
        "SELECT MIN(captured_at), MAX(captured_at) FROM results WHERE camera = ? AND window = ?",
        (row.camera, row.window),
    ).fetchone()
    # What of its results is still kept is counted; of merged windows nobody knows any more which those were.
    known = started_at is not None and not covered
    if started_at is None:
        started_at, ended_at = _times_nearby(connection, row.id)
    return Summary(
        header=Header(station, row.boot, row.seq, started_at, ended_at, 0.0, False, "", camera=row.camera),
        accounting=count_window(connection, row.camera, row.window) if known else Accounting(),
        note=f"gap: a summary was {_DAMAGED}"
        + (": counted from the results that are still kept" if known else ": what it said is unknown"),
        covers=covered,
        gap=GapNote(1 + covers.count(covered), _DAMAGED),
    )


def _times_nearby(connection: sqlite3.Connection, row_id: int) -> tuple[float, float]:
    for (other,) in connection.execute(
        "SELECT id FROM outbox WHERE id != ? ORDER BY ABS(id - ?) LIMIT 3", (row_id, row_id)
    ).fetchall():
        near = read_row(connection, other)
        if near is not None and near.sound():
            header = decode_summary(near.payload).header
            return header.started_at, header.ended_at
    (last,) = connection.execute("SELECT MAX(captured_at) FROM results").fetchone()
    return (float(last), float(last)) if last is not None else (0.0, 0.0)
