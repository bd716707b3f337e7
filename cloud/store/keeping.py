"""What becomes of old rows: fine windows are merged into one an hour, those into one a day, and the oldest are dropped.

A merged row takes the place of the newest of its members, under its id: whoever reads the log of summaries never sees it as
new. Each is made in one transaction, so a kill at any moment leaves the members or the merged row, never both or neither. Nothing
that the drift watch has not read is touched, and no total changes. On SQLite the file does not shrink: its free pages are used
again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, literal, or_, select, tuple_, update

from cloud.merge.coarser import merge_summaries
from cloud.ports.records import Cursor
from cloud.store.alarms import read_cursor
from cloud.store.clock_witness import ClockWitness
from cloud.store.database import Database
from cloud.store.partitions import Partitions, week_of
from cloud.store.summary_rows import UNSET_BEFORE_S
from cloud.store.summary_tables import boots, dead_letters, gaps, seen, summaries
from contract.codec import decode_summary, encode_summary
from contract.errors import BadMessage, TransientError

_log = logging.getLogger(__name__)

_HOUR_S, _DAY_S = 3_600.0, 86_400.0
_LEVEL_S = {1: _HOUR_S, 2: _DAY_S}
# A tick's worth: about half a second of merging, and deletes that no worker has to wait for.
_CELLS_A_TICK = 20
_ROWS_A_TICK = 1_000
_BOOTS_A_TICK = 500
# Digests kept below the watermark: long enough to tell a clone that counts beside the station, some hours of windows.
_SEEN_KEPT = 300
_MOST_GAPS = 100_000
_PATIENCE_MS = 1_000
# Any number but those of the other locks in this folder.
_LOCK = 0x504C_4D45


@dataclass(frozen=True, slots=True)
class KeepRules:
    """How long rows are kept, in days, as `[keep]` of cloud.toml."""

    fine_days: float = 14
    hourly_days: float = 90
    daily_days: float = 730
    dead_letter_days: float = 90
    dead_letters: int = 10_000


@dataclass(frozen=True, slots=True)
class Kept:
    """What a tick did: rows merged into others, rows dropped for their age, and whether there is more to do at once."""

    merged: int = 0
    dropped: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True)
class _Cell:
    """What becomes one row: the windows of a camera, boot and bundle within [start, end)."""

    station: str
    boot: str
    camera: str
    bundle: str
    start: float
    end: float

    def holds(self) -> ColumnElement[bool]:
        """Return the condition of its rows."""
        c = summaries.c
        whose = and_(c.station == self.station, c.boot == self.boot, c.camera == self.camera, c.bundle == self.bundle)
        return and_(whose, c.filed_at >= self.start, c.filed_at < self.end)


class Keeping:
    """Prunes and merges, a little at each tick. One process does it at a time; others' ticks do nothing meanwhile."""

    def __init__(self, database: Database, rules: KeepRules) -> None:
        self._database, self._rules = database, rules
        self._partitions = Partitions(database)
        self._witness = ClockWitness(database)
        self._pruned_to = ("", "")

    def tick(self, now: float) -> Kept:
        """Do some of what is due at `now`; nothing where the stations' clocks say that it cannot be now.

        Raises:
            TransientError: the database did not take it; what was done before stays done.
        """
        # The week to come, too: nobody shall wait on a Monday morning.
        self._partitions.make([now, now + 2 * _DAY_S], now)
        if not self._witness.believes(now):
            return Kept()
        merged, full = 0, False
        for level, days in ((1, self._rules.fine_days), (2, self._rules.hourly_days)):
            cells = self._due(level, now - days * _DAY_S)
            merged += sum(self._merge(cell, level) for cell in cells)
            full = full or len(cells) == _CELLS_A_TICK
        dropped = self._drop_old(now)
        self._drop_told(now)
        more_seen = self._prune_seen()
        return Kept(merged, dropped, more=full or dropped >= _ROWS_A_TICK or more_seen)

    def _due(self, level: int, before: float) -> list[_Cell]:
        """Return some cells that end at or before `before` and hold rows finer than `level`."""
        size = _LEVEL_S[level]
        c = summaries.c
        with self._database.read() as connection:
            was_read = self._was_read(read_cursor(connection))
            # Level by level, each the head of its index: a minimum over all would read every old row.
            old = c.filed_at < before // size * size
            heads = (
                select(c.filed_at).where(c.level == finer, old, was_read).order_by(c.filed_at).limit(1)
                for finer in range(level)
            )
            found = [at for head in heads if (at := connection.execute(head).scalar()) is not None]
            oldest = min(found, default=None)
            if oldest is None:
                return []
            start = oldest // size * size
            query = select(c.station, c.boot, c.camera, c.bundle).where(
                c.level.in_(range(level)), was_read, c.filed_at >= start, c.filed_at < start + size
            )
            rows = connection.execute(query.distinct().limit(_CELLS_A_TICK)).all()
        return [_Cell(*row, start, start + size) for row in rows]

    def _merge(self, cell: _Cell, level: int) -> int:
        """Merge the rows of a cell in one transaction; return how many fewer there are."""
        c = summaries.c
        with self._database.write() as connection:
            if not self._alone(connection):
                return 0
            was_read = self._was_read(read_cursor(connection))
            query = select(summaries).where(cell.holds(), c.level <= level, was_read)
            rows = connection.execute(query.order_by(c.filed_at, c.id)).all()
            gone = 0
            # A row whose clock cannot be right is filed under when it came: its times say nothing of the others'.
            for right in (True, False):
                gone += _merge_rows(connection, [r for r in rows if (r.filed_at == r.started_at) is right], level)
            return gone

    def _drop_old(self, now: float) -> int:
        """Drop rows past their last day: whole weeks on PostgreSQL, and row by row what could not go with its week."""
        before = now - self._rules.daily_days * _DAY_S
        dropped = self._drop_weeks(before)
        if self._database.is_postgresql:
            before = week_of(before)
        c = summaries.c
        with self._database.write() as connection:
            if not self._alone(connection):
                return dropped
            was_read = self._was_read(read_cursor(connection))
            old = select(c.id).where(c.level.in_((0, 1, 2)), c.filed_at < before, was_read).limit(_ROWS_A_TICK)
            gone = connection.execute(delete(summaries).where(c.filed_at < before, c.id.in_(old)))
            return dropped + gone.rowcount

    def _drop_weeks(self, before: float) -> int:
        if not self._database.is_postgresql:
            return 0
        try:
            with self._database.write() as connection:
                # Workers queue behind whoever waits for a lock on the whole table: a backup that reads it must not hold them up.
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_PATIENCE_MS}")
                if not self._alone(connection):
                    return 0
                return self._partitions.drop_before(connection, before, self._was_read(read_cursor(connection)))
        except TransientError as error:
            _log.info("old weeks are dropped later: %s", error.one_line())
            return 0

    def _drop_told(self, now: float) -> None:
        """Drop dead letters and gap records that are too old or too many."""
        rules = self._rules
        with self._database.write() as connection:
            _drop_from(connection, dead_letters, now - rules.dead_letter_days * _DAY_S, rules.dead_letters)
            _drop_from(connection, gaps, now - rules.daily_days * _DAY_S, _MOST_GAPS)

    def _prune_seen(self) -> bool:
        """Forget digests far below the watermark of some boots; return whether there are boots left in this round."""
        b, s = boots.c, seen.c
        query = select(b.station, b.boot, b.watermark).where(tuple_(b.station, b.boot) > self._pruned_to)
        with self._database.write() as connection:
            some = connection.execute(query.order_by(b.station, b.boot).limit(_BOOTS_A_TICK)).all()
            for station, boot, watermark in some:
                settled = and_(s.seq >= 1, s.seq <= watermark - _SEEN_KEPT)
                connection.execute(delete(seen).where(s.station == station, s.boot == boot, settled))
        more = len(some) == _BOOTS_A_TICK
        self._pruned_to = (some[-1].station, some[-1].boot) if more else ("", "")
        return more

    def _was_read(self, cursor: Cursor) -> ColumnElement[bool]:
        """Return the condition of rows that the drift watch has read."""
        c = summaries.c
        if self._database.is_postgresql:
            return or_(c.tx < cursor.tx, and_(c.tx == cursor.tx, c.id <= cursor.row))
        return c.id <= literal(cursor.row)

    def _alone(self, connection: Connection) -> bool:
        """Return whether this transaction is the only one that merges or drops."""
        if not self._database.is_postgresql:
            return True
        return bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({_LOCK})").scalar())


def _merge_rows(connection: Connection, rows: Sequence[Any], level: int) -> int:
    readable, spoilt = [], []
    for row in rows:
        try:
            summary = decode_summary(bytes(row.payload))
            merge_summaries([summary])
            readable.append((row, summary))
        except BadMessage as error:
            # Stored by another version: it stays as it is, and is not looked at again.
            _log.warning("summary row %d stays as it is: %s", row.id, error.one_line())
            spoilt.append(row)
    for row in spoilt:
        connection.execute(update(summaries).where(*_this(row)).values(level=level))
    gone = 0
    for summary, places in merge_summaries([summary for _, summary in readable]):
        members = [readable[place][0] for place in places]
        last = max(members, key=lambda row: (row.tx, row.id))
        if len(members) == 1 and last.level == level:
            continue
        names = ("captured", "decided", "passed", "rejected", "dropped", "undecided", "windows")
        values: dict[str, Any] = {name: sum(getattr(row, name) for row in members) for name in names}
        values |= {"seq": max(row.seq for row in members), "received_at": max(row.received_at for row in members)}
        # With its first window's time the row stays in its cell, and looks as one whose clock was right if theirs were.
        values["filed_at"] = min(row.filed_at for row in members)
        values |= {"started_at": summary.header.started_at, "ended_at": summary.header.ended_at, "level": level}
        if len(members) > 1:
            values["payload"] = encode_summary(summary)
        connection.execute(update(summaries).where(*_this(last)).values(**values))
        for row in members:
            if row.id != last.id:
                connection.execute(delete(summaries).where(*_this(row)))
        gone += len(members) - 1
    return gone


def _this(row: Any) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return summaries.c.id == row.id, summaries.c.filed_at == row.filed_at


def _drop_from(connection: Connection, table: Table, before: float, most: int) -> None:
    c = table.c
    last_gone = connection.execute(select(c.id).order_by(c.id.desc()).offset(most).limit(1)).scalar() or 0
    # What came before the clock was set is of an unknown age: it goes when there are too many.
    aged = and_(c.received_at < before, c.received_at >= UNSET_BEFORE_S)
    old = select(c.id).where(or_(aged, c.id <= last_gone)).order_by(c.id).limit(_ROWS_A_TICK)
    connection.execute(delete(table).where(c.id.in_(old)))
