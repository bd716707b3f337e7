"""Summaries on their way to the cloud: deleted only when it says they are committed (P1)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from agent.decide.accounting import add_up
from agent.ports.outbox import OutboxRow
from agent.store.database import storage_faults, transaction
from agent.store.memory import put_fact
from contract.codec import decode_summary, encode_summary
from contract.messages import Summary


class Outbox:
    """The outbox of one boot, over one connection; another thread uses another `Outbox` on its own connection."""

    def __init__(self, connection: sqlite3.Connection, *, boot: str, max_bytes: int = 64 << 20) -> None:
        self._connection = connection
        self._max_bytes = max_bytes
        self.boot = boot

    def add(self, summary: Summary, window: int) -> int:
        """Store `summary` under the next sequence number and return that. The caller holds the transaction."""
        row = self._connection.execute("SELECT value FROM memory WHERE name = 'next_seq'").fetchone()
        seq = int(row[0]) if row else 1
        header = msgspec.structs.replace(summary.header, boot=self.boot, seq=seq)
        payload = encode_summary(msgspec.structs.replace(summary, header=header))
        put_fact(self._connection, "next_seq", str(seq + 1))
        self._connection.execute(
            "INSERT INTO outbox (boot, seq, window, bytes, payload) VALUES (?, ?, ?, ?, ?)",
            (self.boot, seq, window, len(payload), payload),
        )
        self._keep_within_budget()
        return seq

    def pending(self, limit: int, after_id: int = 0) -> list[OutboxRow]:
        """Return at most `limit` rows with an id above `after_id`, oldest first."""
        with storage_faults("reading the outbox"):
            rows = self._connection.execute(
                "SELECT id, boot, seq, payload FROM outbox WHERE id > ? ORDER BY id LIMIT ?", (after_id, limit)
            )
            return [OutboxRow(*row) for row in rows]

    def take(self, limit: int, after_id: int = 0) -> list[OutboxRow]:
        """Return at most `limit` rows with an id above `after_id`, oldest first, durably marked as sent.

        Marked and read in one transaction: between the two, the recorder might merge a row that is about to be published,
        and its frames would be counted twice.
        """
        with storage_faults("taking summaries to send"):
            if self._connection.execute("SELECT 1 FROM outbox WHERE id > ? LIMIT 1", (after_id,)).fetchone() is None:
                return []  # the usual case, many times a second: no write
            with transaction(self._connection):
                rows = self.pending(limit, after_id)
                self._connection.executemany(
                    "UPDATE outbox SET sent = 1 WHERE id = ? AND sent = 0", [(row.id,) for row in rows]
                )
        return rows

    def acknowledge(self, boot: str, ranges: Sequence[tuple[int, int]], now: float) -> int:
        """Delete the rows in these inclusive sequence ranges of `boot`; return how many."""
        deleted = 0
        with storage_faults("deleting acknowledged summaries"), transaction(self._connection):
            for first, last in ranges:
                # `sent`: an acknowledgement of what we never sent is not about our rows.
                cursor = self._connection.execute(
                    "DELETE FROM outbox WHERE boot = ? AND seq BETWEEN ? AND ? AND sent = 1", (boot, first, last)
                )
                deleted += cursor.rowcount
            if deleted:
                put_fact(self._connection, "acked_at", repr(now))
        return deleted

    def depth(self) -> int:
        """Return the number of rows."""
        return int(self._connection.execute("SELECT COUNT(*) FROM outbox").fetchone()[0])

    def _keep_within_budget(self) -> None:
        """Merge the oldest rows that were never sent into one gap record: their counts survive, their sketches do not.

        A row that was sent may already be counted in the cloud, so it is never merged.
        """
        (used,) = self._connection.execute("SELECT SUM(bytes) FROM outbox").fetchone()
        if used <= self._max_bytes:
            return
        to_free = used - int(self._max_bytes * 0.9)
        merged: list[tuple[int, int, bytes]] = []
        # The newest row is the one just added: it stays whole unless it is alone.
        rows = self._connection.execute(
            "SELECT id, window, payload, bytes FROM outbox WHERE sent = 0 AND boot = ? ORDER BY id", (self.boot,)
        ).fetchall()[:-1]
        for row_id, window, payload, size in rows:
            merged.append((row_id, window, payload))
            to_free -= size
            if to_free <= 0 and len(merged) > 1:
                break
        if len(merged) < 2:
            return
        summaries = [decode_summary(payload) for _, _, payload in merged]
        keep_id, payload = merged[-1][0], encode_summary(_gap_record(summaries))
        self._connection.executemany("DELETE FROM outbox WHERE id = ?", [(row_id,) for row_id, _, _ in merged[:-1]])
        self._connection.execute(
            "UPDATE outbox SET payload = ?, bytes = ?, window = ? WHERE id = ?",
            (payload, len(payload), merged[0][1], keep_id),
        )


def _gap_record(summaries: Sequence[Summary]) -> Summary:
    first, last = summaries[0].header, summaries[-1].header
    header = msgspec.structs.replace(last, started_at=min(s.header.started_at for s in summaries))
    return Summary(
        header=header,
        accounting=add_up(s.accounting for s in summaries),
        simulated=any(s.simulated for s in summaries),
        note=f"gap: summaries {_first_seq(summaries[0], first.seq)}-{last.seq} merged for lack of room; their sketches are lost",
    )


def _first_seq(summary: Summary, otherwise: int) -> int:
    # A gap record merged again keeps the start of its range.
    head = summary.note.removeprefix("gap: summaries ").split("-")[0]
    return int(head) if summary.note.startswith("gap: ") and head.isdigit() else otherwise
