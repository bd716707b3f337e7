"""How waiting summaries give way when room runs out: coarser windows first, then gap records, which keep every count (P4).

Rows that were sent cannot be merged, for the cloud may have counted some of them; last of all they lose their sketches, each under
its own name.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

import msgspec

from agent.store.merging import NO_ROOM, coarser, gap_record, without_sketches
from agent.store.outbox_row import NEVER, SENT, SENT_OTHERWISE, Signer, load, rewrite
from contract.messages import Summary

# About what counts and notes take without sketches: there is little to win of a row that is smaller.
_BARE_BYTES = 1_024


@dataclass(frozen=True, slots=True)
class _Row:
    """A row that was never sent."""

    id: int
    camera: str
    window: int
    size: int
    seq: int


@dataclass(slots=True)
class _Group:
    """Neighbouring rows of one camera and what they merge into."""

    rows: list[_Row] = field(default_factory=list)
    merged: Summary | None = None

    def saved(self) -> int:
        """Return about how many bytes the merge frees: the rows but one."""
        return sum(row.size for row in self.rows[:-1])


class OutboxRoom:
    """Merges rows of `boot` that were never sent, and makes smaller those that were; the caller holds the transaction.

    `merges` counts windows by what was lost; `troubles` says what rows turned out to be damaged.
    """

    def __init__(self, connection: sqlite3.Connection, boot: str, signer: Signer) -> None:
        self._connection = connection
        self._boot = boot
        self._signer = signer
        self.merges: dict[str, int] = {}
        self.troubles: list[str] = []

    def shrink(self, by_bytes: int) -> int:
        """Free about `by_bytes`; return how many."""
        freed = self._coarsen(by_bytes)
        for step in (self._merge_into_gap, self._strip_sent):
            if freed < by_bytes:
                freed += step(by_bytes - freed)
        return freed

    def _unsent(self) -> list[_Row]:
        rows = self._connection.execute(
            "SELECT id, camera, window, bytes, seq FROM outbox WHERE sent = ? AND boot = ? ORDER BY id",
            (NEVER, self._boot),
        ).fetchall()
        found: list[_Row] = []
        for row_id, camera, window, size, seq in reversed(rows):
            # A row that was renamed may be numbered after younger ones: a merged one stands for numbers before its own.
            if not found or seq < found[-1].seq:
                found.append(_Row(int(row_id), str(camera), int(window), int(size), int(seq)))
        return found[:0:-1]

    def _load(self, row_id: int) -> Summary:
        # One payload at a time: the whole outbox may be larger than the memory we promised to stay in.
        summary = load(self._connection, row_id, self._signer, self.troubles)
        assert summary is not None, "the rows cannot change under the transaction"
        return summary

    def _coarsen(self, by_bytes: int) -> int:
        freed = 0
        # The rows of several cameras alternate: each camera's neighbours are the next rows of its own.
        groups: dict[str, _Group] = {}
        kept = {str(row[0]) for row in self._connection.execute("SELECT sample FROM samples")}
        for row in self._unsent():
            if freed >= by_bytes:
                break
            summary = self._load(row.id)
            # The cloud cannot ask for an image that went: its note is only weight.
            summary = msgspec.structs.replace(summary, samples=tuple(n for n in summary.samples if n.sample in kept))
            group = groups.setdefault(row.camera, _Group())
            joined = coarser(group.merged, summary) if group.merged is not None else None
            if joined is None:
                freed += self._replace(group, "sketches merged, none lost")
                group.rows, group.merged = [row], summary
            else:
                group.rows.append(row)
                group.merged = joined
                # Enough is counted as it comes: the last group need not be a whole hour.
                if freed + sum(each.saved() for each in groups.values()) >= by_bytes:
                    break
        return freed + sum(self._replace(group, "sketches merged, none lost") for group in groups.values())

    def _merge_into_gap(self, by_bytes: int) -> int:
        groups: dict[str, _Group] = {}
        size = 0
        for row in self._unsent():
            group = groups.setdefault(row.camera, _Group())
            group.rows.append(row)
            size += row.size
            if size >= by_bytes and len(group.rows) > 1:
                break
        freed = 0
        for group in groups.values():
            if len(group.rows) > 1:
                group.merged = gap_record([self._load(row.id) for row in group.rows])
                freed += self._replace(group, "sketches lost")
        return freed

    def _strip_sent(self, by_bytes: int) -> int:
        """Take the sketches off rows that were sent and are not acknowledged, oldest first: a broker may be there, and no cloud."""
        freed = 0
        rows = self._connection.execute(
            "SELECT id, window, bytes FROM outbox WHERE sent = ? AND bytes > ? ORDER BY id", (SENT, _BARE_BYTES)
        ).fetchall()
        for row_id, window, size in rows:
            if freed >= by_bytes:
                break
            summary = self._load(int(row_id))
            if summary.window is None and not summary.samples:
                continue
            bare = self._signer.sign(without_sketches(summary, NO_ROOM))
            # What the cloud has under its name may be itself, as it was sent before.
            freed += int(size) - rewrite(self._connection, int(row_id), bare, sent=SENT_OTHERWISE, window=int(window))
            self.merges["sketches lost, sent before"] = self.merges.get("sketches lost, sent before", 0) + 1
        return freed

    def _replace(self, group: _Group, outcome: str) -> int:
        if len(group.rows) < 2 or group.merged is None:
            return 0
        first, *_, last = group.rows
        self._connection.executemany("DELETE FROM outbox WHERE id = ?", [(row.id,) for row in group.rows[:-1]])
        size = rewrite(self._connection, last.id, self._signer.sign(group.merged), sent=NEVER, window=first.window)
        self.merges[outcome] = self.merges.get(outcome, 0) + len(group.rows)
        return sum(row.size for row in group.rows) - size
