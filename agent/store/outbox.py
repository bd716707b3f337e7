"""Summaries on their way to the cloud: deleted only when it says they are committed (P1)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import msgspec

from agent.decide.accounting import add_up
from agent.decide.opinions import add_up_opinions
from agent.ports.outbox import OutboxRow
from agent.store.database import storage_faults, transaction
from agent.store.memory import put_fact
from contract.codec import decode_summary, encode_summary
from contract.errors import BadMessage, SketchMismatch
from contract.messages import Summary
from contract.sketches.window import merge
from contract.sketches.wire import from_wire, to_wire

# Drift is judged hour by hour at the coarsest; beyond that a window says too little about when.
_COARSEST_S = 3600.0
_GAP = "gap: summaries "
_MERGED = "merged: summaries "


@dataclass(frozen=True, slots=True)
class _Row:
    """A row that was never sent."""

    id: int
    camera: str
    window: int
    size: int


@dataclass(slots=True)
class _Group:
    """Neighbouring rows of one camera and what they merge into."""

    rows: list[_Row] = field(default_factory=list)
    merged: Summary | None = None

    def saved(self) -> int:
        """Return about how many bytes the merge frees: the rows but one."""
        return sum(row.size for row in self.rows[:-1])


class Outbox:
    """The outbox of one boot, over one connection; another thread uses another `Outbox` on its own connection."""

    def __init__(self, connection: sqlite3.Connection, *, boot: str, max_bytes: int = 64 << 20) -> None:
        self._connection = connection
        self._max_bytes = max_bytes
        self._merges: dict[str, int] = {}
        self.boot = boot

    def add(self, summary: Summary, window: int) -> int:
        """Store `summary` under the next sequence number and return that. The caller holds the transaction.

        `window` is numbered within the camera of the summary's header; sequence numbers run over all cameras.
        """
        row = self._connection.execute("SELECT value FROM memory WHERE name = 'next_seq'").fetchone()
        seq = int(row[0]) if row else 1
        header = msgspec.structs.replace(summary.header, boot=self.boot, seq=seq)
        payload = encode_summary(msgspec.structs.replace(summary, header=header))
        put_fact(self._connection, "next_seq", str(seq + 1))
        self._connection.execute(
            "INSERT INTO outbox (boot, seq, window, bytes, payload, camera) VALUES (?, ?, ?, ?, ?, ?)",
            (self.boot, seq, window, len(payload), payload, header.camera),
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

    def shrink(self, by_bytes: int) -> int:
        """Free about `by_bytes` of rows that were never sent; return how many. The caller holds the transaction.

        First neighbouring windows of a camera are merged into coarser ones, up to an hour, which keeps their sketches, counts
        and the notes of images that are still kept; then the oldest into a gap record a camera, which keeps the counts. A row
        that was sent may already be counted in the cloud, so it is never merged; the newest row, the one just added, stays whole.
        """
        freed = self._coarsen(by_bytes)
        return freed if freed >= by_bytes else freed + self._merge_into_gap(by_bytes - freed)

    def take_merges(self) -> dict[str, int]:
        """Return how many windows were merged since the last call, by what was lost."""
        merges, self._merges = self._merges, {}
        return merges

    def _keep_within_budget(self) -> None:
        (used,) = self._connection.execute("SELECT SUM(bytes) FROM outbox").fetchone()
        if used > self._max_bytes:
            self.shrink(used - int(self._max_bytes * 0.9))

    def _unsent(self) -> list[_Row]:
        rows = self._connection.execute(
            "SELECT id, camera, window, bytes FROM outbox WHERE sent = 0 AND boot = ? ORDER BY id", (self.boot,)
        )
        return [_Row(int(row_id), str(camera), int(window), int(size)) for row_id, camera, window, size in rows][:-1]

    def _load(self, row_id: int) -> Summary:
        # One payload at a time: the whole outbox may be larger than the memory we promised to stay in.
        (payload,) = self._connection.execute("SELECT payload FROM outbox WHERE id = ?", (row_id,)).fetchone()
        return decode_summary(payload)

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
            joined = _coarser(group.merged, summary) if group.merged is not None else None
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
                group.merged = _gap_record([self._load(row.id) for row in group.rows])
                freed += self._replace(group, "sketches lost")
        return freed

    def _replace(self, group: _Group, outcome: str) -> int:
        if len(group.rows) < 2 or group.merged is None:
            return 0
        first, *_, last = group.rows
        payload = encode_summary(group.merged)
        self._connection.executemany("DELETE FROM outbox WHERE id = ?", [(row.id,) for row in group.rows[:-1]])
        self._connection.execute(
            "UPDATE outbox SET payload = ?, bytes = ?, window = ? WHERE id = ?",
            (payload, len(payload), first.window, last.id),
        )
        self._merges[outcome] = self._merges.get(outcome, 0) + len(group.rows)
        return sum(row.size for row in group.rows) - len(payload)


def _coarser(first: Summary, second: Summary) -> Summary | None:
    """Return one summary of the frames of both, or None where they cannot be one without losing something."""
    old, new = first.header, second.header
    if first.window is None or second.window is None or (old.bundle, old.camera) != (new.bundle, new.camera):
        return None
    # abs: the clock was set back between the two.
    if abs(new.ended_at - old.started_at) > _COARSEST_S or first.window.identity != second.window.identity:
        return None
    try:
        window = to_wire(merge(from_wire(first.window), from_wire(second.window)))
    except (BadMessage, SketchMismatch):
        return None
    told = "; ".join(dict.fromkeys(filter(None, (_beyond_merge(first.note), _beyond_merge(second.note)))))
    return Summary(
        header=msgspec.structs.replace(
            new,
            started_at=min(old.started_at, new.started_at),
            clock_synced=old.clock_synced and new.clock_synced,
        ),
        accounting=add_up((first.accounting, second.accounting)),
        window=window,
        samples=(*first.samples, *second.samples),
        shadow=second.shadow or first.shadow,
        simulated=first.simulated or second.simulated,
        note=f"{_MERGED}{_first_seq(first, old.seq)}-{new.seq} in one window for lack of room"
        + (f"; {told}" if told else ""),
        opinions=add_up_opinions(first.opinions, second.opinions),
    )


def _beyond_merge(note: str) -> str:
    return (note.partition("; ")[2] if note.startswith(_MERGED) else note)[:400]


def _gap_record(summaries: Sequence[Summary]) -> Summary:
    first, last = summaries[0].header, summaries[-1].header
    whose = f" of camera {last.camera}" if last.camera else ""
    header = msgspec.structs.replace(
        last,
        started_at=min(s.header.started_at for s in summaries),
        clock_synced=all(s.header.clock_synced for s in summaries),
    )
    return Summary(
        header=header,
        accounting=add_up(s.accounting for s in summaries),
        simulated=any(s.simulated for s in summaries),
        note=f"{_GAP}{_first_seq(summaries[0], first.seq)}-{last.seq}{whose} merged for lack of room; their sketches are lost",
        opinions=reduce(add_up_opinions, (s.opinions for s in summaries)),
    )


def _first_seq(summary: Summary, otherwise: int) -> int:
    # A record merged again keeps the start of its range.
    for prefix in (_GAP, _MERGED):
        head = summary.note.removeprefix(prefix).split("-")[0]
        if summary.note.startswith(prefix) and head.isdigit():
            return int(head)
    return otherwise
