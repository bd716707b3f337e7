"""Summaries as the loops and the pages read them. They are stored by `cloud.store.batches`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, text

from cloud.ports.batch import Batch
from cloud.ports.records import Cursor
from cloud.store.batches import Batches
from cloud.store.database import Database
from cloud.store.summary_tables import dead_letters, station_totals, summaries
from contract.messages import Summary

# A transaction below this one is over, and so is every lower one: nothing can become visible before what was read.
_SETTLED = "tx < (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint"


@dataclass(frozen=True, slots=True)
class ReceivedSummary:
    """A decoded summary with the bytes it came in."""

    summary: Summary
    payload: bytes
    received_at: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that is none of ours: kept for a person, acknowledged so that it does not come again."""

    topic: str
    reason: str
    payload: bytes
    received_at: float


@dataclass(frozen=True, slots=True)
class StationTotals:
    """What a station has accounted for so far.

    `missing_seqs` counts holes below the highest sequence of each boot that nothing covers; `conflicts` summaries refused because
    others have their sequences; `gaps` the times it said that sketches were lost.
    """

    station: str
    summaries: int
    captured: int
    decided: int
    passed: int
    rejected: int
    dropped: int
    undecided: int
    missing_seqs: int
    conflicts: int = 0
    gaps: int = 0


class Summaries:
    """The summaries, station_totals and dead_letters tables."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batches = Batches(database)

    def commit(self, received: Sequence[ReceivedSummary], dead: Sequence[DeadLetter]) -> int:
        """Store summaries and dead letters that came at one time; return how many summaries were new."""
        batch = Batch(
            summaries=[(each.summary, each.payload) for each in received],
            dead=[(letter.topic, letter.reason, letter.payload) for letter in dead],
        )
        at = max([each.received_at for each in received] + [letter.received_at for letter in dead], default=0.0)
        return self._batches.commit(batch, at).new

    def after(self, cursor: Cursor, limit: int) -> list[tuple[Cursor, bytes]]:
        """Return up to `limit` (cursor, payload) after `cursor`, in an order in which nothing ever appears before what was read.

        Ids are drawn before their transactions commit, so with several writers an id alone would skip rows. By (transaction, id),
        and only of transactions older than all that still run, none is.
        """
        c = summaries.c
        query = select(c.tx, c.id, c.payload).limit(limit)
        if self._database.is_postgresql:
            query = query.where(text("(tx, id) > (:tx, :row)").bindparams(tx=cursor.tx, row=cursor.row), text(_SETTLED))
            query = query.order_by(c.tx, c.id)
        else:
            query = query.where(c.id > cursor.row).order_by(c.id)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [
            (Cursor(row.tx, row.id, cursor.position + number), bytes(row.payload)) for number, row in enumerate(rows, 1)
        ]

    def totals(self) -> list[StationTotals]:
        """Return the totals of every station that was heard, by station; it reads a row a station and no summary."""
        c = station_totals.c
        with self._database.read() as connection:
            rows = connection.execute(select(station_totals).where(c.summaries > 0).order_by(c.station)).all()
        return [
            StationTotals(
                station=row.station,
                summaries=row.summaries,
                captured=row.captured,
                decided=row.decided,
                passed=row.passed,
                rejected=row.rejected,
                dropped=row.dropped,
                undecided=row.undecided,
                missing_seqs=row.missing,
                conflicts=row.conflicts,
                gaps=row.gaps,
            )
            for row in rows
        ]

    def dead_letter_count(self) -> int:
        """Return how many messages could not be understood."""
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(dead_letters)).scalar_one())
