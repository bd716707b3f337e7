"""Summaries, exactly once: dedupe, the row and what it changes are one transaction (P1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, tuple_

from cloud.store.database import Database
from cloud.store.tables import dead_letters, samples, station_status, summaries
from contract.messages import Summary


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
    """What a station has accounted for so far; `missing_seqs` counts holes below the highest sequence of each boot."""

    station: str
    summaries: int
    captured: int
    decided: int
    passed: int
    rejected: int
    dropped: int
    undecided: int
    missing_seqs: int


class Summaries:
    """The summaries table. One ingest thread writes; anyone reads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def commit(self, received: Sequence[ReceivedSummary], dead: Sequence[DeadLetter]) -> int:
        """Store a batch in one transaction and return how many summaries were new; the rest were there already."""
        with self._database.write() as connection:
            new = self._new_ones(connection, received)
            if new:
                connection.execute(self._database.insert_new(summaries), [_row(item) for item in new])
                notes = [row for item in new for row in _sample_rows(item)]
                if notes:
                    connection.execute(self._database.insert_new(samples), notes)
                for station, at in _latest(new).items():
                    values = {"station": station, "summary_at": at}
                    connection.execute(self._database.upsert(station_status, "station", values))
            if dead:
                connection.execute(
                    dead_letters.insert(),
                    [
                        {"received_at": d.received_at, "topic": d.topic, "reason": d.reason, "payload": d.payload}
                        for d in dead
                    ],
                )
            return len(new)

    def after(self, cursor: int, limit: int) -> list[tuple[int, bytes]]:
        """Return up to `limit` (row id, payload) with ids above `cursor`, in the order they were committed."""
        query = (
            select(summaries.c.id, summaries.c.payload)
            .where(summaries.c.id > cursor)
            .order_by(summaries.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [(row.id, row.payload) for row in connection.execute(query)]

    def totals(self) -> list[StationTotals]:
        """Return every station's totals."""
        c = summaries.c
        sums = [func.sum(x) for x in (c.captured, c.decided, c.passed, c.rejected, c.dropped, c.undecided)]
        query = select(c.station, func.count(), *sums).group_by(c.station).order_by(c.station)
        spans = select(c.station, (func.max(c.seq) - func.count()).label("holes")).group_by(c.station, c.boot)
        with self._database.read() as connection:
            holes: dict[str, int] = {}
            for station, count in connection.execute(spans):
                holes[station] = holes.get(station, 0) + count
            rows = connection.execute(query).all()
        names = ("captured", "decided", "passed", "rejected", "dropped", "undecided")
        return [
            StationTotals(
                station=row[0],
                summaries=row[1],
                missing_seqs=holes[row[0]],
                **{name: int(value) for name, value in zip(names, row[2:], strict=True)},
            )
            for row in rows
        ]

    def dead_letter_count(self) -> int:
        """Return how many messages could not be understood."""
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(dead_letters)).scalar_one())

    @staticmethod
    def _new_ones(connection: Connection, received: Sequence[ReceivedSummary]) -> list[ReceivedSummary]:
        # The unique index would refuse duplicates anyway; asking first tells which side effects must not happen again.
        by_key = {(i.summary.header.station, i.summary.header.boot, i.summary.header.seq): i for i in received}
        if not by_key:
            return []
        c = summaries.c
        query = select(c.station, c.boot, c.seq).where(tuple_(c.station, c.boot, c.seq).in_(list(by_key)))
        known = {tuple(row) for row in connection.execute(query)}
        return [item for key, item in by_key.items() if key not in known]


def _row(item: ReceivedSummary) -> dict[str, object]:
    header, accounting = item.summary.header, item.summary.accounting
    return {
        "station": header.station,
        "boot": header.boot,
        "seq": header.seq,
        "started_at": header.started_at,
        "ended_at": header.ended_at,
        "received_at": item.received_at,
        "bundle": header.bundle,
        "captured": accounting.captured,
        "decided": accounting.decided,
        "passed": accounting.passed,
        "rejected": accounting.rejected,
        "dropped": sum(accounting.dropped.values()),
        "undecided": accounting.undecided,
        "payload": item.payload,
        "camera": header.camera,
    }


def _sample_rows(item: ReceivedSummary) -> Iterable[dict[str, object]]:
    header = item.summary.header
    for note in item.summary.samples:
        yield {
            "sample": note.sample,
            "station": header.station,
            "captured_at": note.captured_at,
            "part": note.part,
            "label": note.label,
            "confidence": note.confidence,
            "verdict": note.verdict,
            "reason": note.reason,
            "inclusion": note.inclusion,
            "novelty": note.novelty,
            "bundle": header.bundle,
            "camera": header.camera,
        }


def _latest(items: Iterable[ReceivedSummary]) -> dict[str, float]:
    latest: dict[str, float] = {}
    for item in items:
        station = item.summary.header.station
        latest[station] = max(latest.get(station, 0.0), item.received_at)
    return latest
