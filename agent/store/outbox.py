"""Summaries on their way to the cloud: deleted only when it says they are committed (P1)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

import msgspec

from agent.ports.outbox import OutboxRow, Renamed
from agent.store.boots import begin_boot, claimed_above, current_boot, draw_seq, next_seq
from agent.store.database import storage_faults, transaction
from agent.store.memory import put_fact
from agent.store.merging import TOO_LARGE, without_sketches
from agent.store.outbox_room import OutboxRoom
from agent.store.outbox_row import (
    NEVER,
    SENT,
    SENT_OTHERWISE,
    Signer,
    count_drop,
    find_named,
    insert,
    load,
    read_row,
    rewrite,
)
from contract.codec import encode_summary
from contract.messages import Summary

_ANY_SIZE = 1 << 28
_MOST_TROUBLES = 20


class Outbox:
    """The outbox over one connection; another thread uses another `Outbox` on its own connection.

    The boot in force is a fact in the database: one that another connection renewed holds here too.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        boot: str,
        max_bytes: int = 64 << 20,
        signer: Signer | None = None,
        on_new_boot: Callable[[str], None] | None = None,
    ) -> None:
        """`boot` is the one that was claimed; `on_new_boot` is told of one that takes its place, once that is durable."""
        self._connection = connection
        self._max_bytes = max_bytes
        self._signer = signer or Signer()
        self._on_new_boot = on_new_boot or (lambda _: None)
        self._merges: dict[str, int] = {}
        self._troubles: list[str] = []
        self._boot = boot

    @property
    def boot(self) -> str:
        """The boot that new summaries get."""
        return current_boot(self._connection) or self._boot

    def next_seq(self) -> int:
        """Return the sequence number that the next new summary gets."""
        with storage_faults("reading the outbox"):
            return next_seq(self._connection)

    def add(self, summary: Summary, window: int) -> int:
        """Store `summary` under the next sequence number and return that; a gap in it is signed. The caller holds the transaction.

        `window` is numbered within the camera of the summary's header; sequence numbers run over all cameras.
        """
        seq = draw_seq(self._connection)
        header = msgspec.structs.replace(summary.header, boot=self.boot, seq=seq)
        insert(self._connection, self._signer.sign(msgspec.structs.replace(summary, header=header)), window)
        self._keep_within_budget()
        return seq

    def pending(self, limit: int, after_id: int = 0) -> list[OutboxRow]:
        """Return at most `limit` rows with an id above `after_id`, oldest first, as they lie."""
        with storage_faults("reading the outbox"):
            rows = self._connection.execute(
                "SELECT id, boot, seq, payload FROM outbox WHERE id > ? ORDER BY id LIMIT ?", (after_id, limit)
            )
            return [OutboxRow(*row) for row in rows]

    def ids(self, limit: int, *, above: int = 0, below: int | None = None, newest: bool = False) -> list[int]:
        """Return the ids of at most `limit` rows strictly between, ascending: the oldest of them, or the newest."""
        with storage_faults("reading the outbox"):
            rows = self._connection.execute(
                f"SELECT id FROM outbox WHERE id > ? AND id < ? ORDER BY id {'DESC' if newest else 'ASC'} LIMIT ?",
                (above, below if below is not None else 1 << 62, limit),
            ).fetchall()
        return sorted(int(row[0]) for row in rows)

    def take(self, limit: int, after_id: int = 0) -> list[OutboxRow]:
        """Return at most `limit` rows with an id above `after_id`, oldest first, durably marked as sent."""
        found = self.ids(limit, above=after_id)
        return self.take_rows(found) if found else []

    def take_rows(self, ids: Sequence[int], largest_bytes: int = _ANY_SIZE) -> list[OutboxRow]:
        """Return these rows, in this order and without those that are gone, durably marked as sent.

        Marked and read in one transaction: between the two, the recorder might merge a row that is about to be published, and
        its frames would be counted twice. A damaged row comes as a gap record, one above `largest_bytes` with fewer notes or
        as a gap record of its own; one that even so is too large stays.
        """
        rows: list[OutboxRow] = []
        with storage_faults("taking summaries to send"), transaction(self._connection):
            for row_id in ids:
                row = self._take(row_id, largest_bytes)
                if row is not None:
                    rows.append(row)
        return rows

    def acknowledge(
        self, boot: str, ranges: Sequence[tuple[int, int]], now: float, contents: Sequence[int] = ()
    ) -> list[int]:
        """Delete the sent rows in these inclusive sequence ranges of `boot` that have these contents; return their ids."""
        with storage_faults("deleting acknowledged summaries"), transaction(self._connection):
            deleted = [row_id for row_id, _ in find_named(self._connection, boot, ranges, contents)]
            if deleted:
                self._connection.executemany("DELETE FROM outbox WHERE id = ?", [(row_id,) for row_id in deleted])
                put_fact(self._connection, "acked_at", repr(now))
        return deleted

    def rename(self, boot: str, ranges: Sequence[tuple[int, int]], contents: Sequence[int] = ()) -> Renamed:
        """Give the sent rows in these ranges of `boot` that have these contents new names, for theirs are somebody else's.

        Where `boot` is the one in force a fresh one takes its place, and what is added from now on is named under it. All of it
        is one transaction: killed at any point, the same answer of the cloud finds either the old names or none of them.
        Rows that were never sent keep theirs: if those are taken too, the cloud says so, and what a copy of this file has sent
        already is dropped as the same. The sequences that a row covers go with the old boot, whose numbers they are.
        """
        renamed: list[int] = []
        dropped: list[int] = []
        new_boot = ""
        with storage_faults("renaming summaries"), transaction(self._connection):
            for row_id, sent in find_named(self._connection, boot, ranges, contents):
                if sent == SENT_OTHERWISE:
                    # The other content under its name is its own, as it was sent before.
                    self._connection.execute("DELETE FROM outbox WHERE id = ?", (row_id,))
                    dropped.append(row_id)
                    continue
                if self.boot == boot:
                    new_boot = begin_boot(self._connection, boot)
                self._rename(row_id)
                renamed.append(row_id)
        self._tell(new_boot)
        return Renamed(tuple(renamed), tuple(dropped))

    def renew(self, boot: str) -> bool:
        """Begin a fresh boot where `boot` is the one in force; return whether it was.

        Rows that were never sent get names under it, if they were added since this process claimed the file; a copy made before
        may hold older ones, and they keep theirs so that the cloud sees that they are the same.
        """
        with storage_faults("beginning a new boot"), transaction(self._connection):
            if not boot or self.boot != boot:
                return False
            new_boot = begin_boot(self._connection, boot)
            for (row_id,) in self._connection.execute(
                "SELECT id FROM outbox WHERE boot = ? AND sent = ? AND id > ? ORDER BY id",
                (boot, NEVER, claimed_above(self._connection)),
            ).fetchall():
                self._rename(int(row_id))
        self._tell(new_boot)
        return True

    def depth(self) -> int:
        """Return the number of rows."""
        return int(self._connection.execute("SELECT COUNT(*) FROM outbox").fetchone()[0])

    def shrink(self, by_bytes: int) -> int:
        """Free about `by_bytes` of rows that were never sent; return how many. The caller holds the transaction.

        First neighbouring windows of a camera are merged into coarser ones, up to an hour, which keeps their sketches, counts
        and the notes of images that are still kept; then the oldest into a gap record a camera, which keeps the counts. A row
        that was sent may already be counted in the cloud, so it is never merged; the newest row, the one just added, stays whole.
        """
        room = OutboxRoom(self._connection, self.boot, self._signer)
        freed = room.shrink(by_bytes)
        for outcome, number in room.merges.items():
            self._merges[outcome] = self._merges.get(outcome, 0) + number
        self._say(*room.troubles)
        return freed

    def take_merges(self) -> dict[str, int]:
        """Return how many windows were merged since the last call, by what was lost."""
        merges, self._merges = self._merges, {}
        return merges

    def troubles(self) -> list[str]:
        """Return what is to be told of rows that could not be sent as they were, once."""
        told, self._troubles = self._troubles, []
        return told

    def _take(self, row_id: int, largest_bytes: int) -> OutboxRow | None:
        row = read_row(self._connection, row_id)
        if row is None:
            return None
        if not row.sound():
            found: list[str] = []
            load(self._connection, row_id, self._signer, found)
            self._say(*found)
            row = read_row(self._connection, row_id)
            assert row is not None
        if len(row.payload) > largest_bytes:
            smaller = self._smaller(row_id, largest_bytes)
            if smaller is None:
                self._say(
                    f"summary {row.seq} of {len(row.payload)} bytes is {TOO_LARGE} even without its sketches: it stays"
                )
                return None
            rewrite(
                self._connection,
                row_id,
                smaller,
                sent=SENT_OTHERWISE if row.sent != NEVER else SENT,
                window=row.window,
            )
            row = read_row(self._connection, row_id)
            assert row is not None
        elif row.sent == NEVER:
            self._connection.execute("UPDATE outbox SET sent = ? WHERE id = ?", (SENT, row_id))
        return OutboxRow(row.id, row.boot, row.seq, row.payload)

    def _smaller(self, row_id: int, largest_bytes: int) -> Summary | None:
        """Return the row's summary with as many of its notes as fit, else without its sketches, None if even that is too large."""
        whole = load(self._connection, row_id, self._signer, [])
        assert whole is not None
        over = len(encode_summary(whole)) - largest_bytes
        notes = list(whole.samples)
        while notes and over > 0:
            over -= len(msgspec.msgpack.encode(notes.pop()))
        fewer = msgspec.structs.replace(
            whole, samples=tuple(notes), note=f"{whole.note}; {len(whole.samples) - len(notes)} notes left out"[:400]
        )
        if notes and len(encode_summary(fewer)) <= largest_bytes:
            count_drop(self._connection, f"summaries (notes of images left out, {TOO_LARGE})")
            self._say(f"summary {whole.header.seq} goes without some notes of images: it is {TOO_LARGE}")
            return fewer
        bare = self._signer.sign(without_sketches(whole, TOO_LARGE))
        if len(encode_summary(bare)) > largest_bytes:
            return None
        count_drop(self._connection, f"windows (sketches lost, {TOO_LARGE})")
        self._say(f"summary {whole.header.seq} goes without its sketches: it is {TOO_LARGE}")
        return bare

    def _rename(self, row_id: int) -> None:
        summary = load(self._connection, row_id, self._signer, self._troubles)
        row = read_row(self._connection, row_id)
        if summary is None or row is None:
            return
        old = summary.header
        header = msgspec.structs.replace(old, boot=self.boot, seq=draw_seq(self._connection))
        stood = f" for {row.covers} too" if row.covers else ""
        note = f"was {old.seq} of boot {old.boot}{stood}" + (f"; {summary.note}" if summary.note else "")
        renamed = msgspec.structs.replace(summary, header=header, note=note[:600], covers=())
        rewrite(self._connection, row_id, self._signer.sign(renamed), sent=NEVER, window=row.window)

    def _tell(self, new_boot: str) -> None:
        if new_boot:
            self._on_new_boot(new_boot)

    def _say(self, *lines: str) -> None:
        self._troubles = [*self._troubles, *lines][-_MOST_TROUBLES:]

    def _keep_within_budget(self) -> None:
        (used,) = self._connection.execute("SELECT SUM(bytes) FROM outbox").fetchone()
        if used > self._max_bytes:
            self.shrink(used - int(self._max_bytes * 0.9))
