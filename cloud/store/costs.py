"""What each station cost, day by day (UTC): bytes and images that came, cloud calls; and what retrains took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import Connection, delete, func, select

from cloud.store.database import Database
from cloud.store.operate_tables import cost_days
from cloud.store.summary_tables import station_totals

DAY_S = 86_400.0


class Cost(str, Enum):
    """What is counted."""

    SUMMARY_BYTES = "summary_bytes"
    IMAGE_BYTES = "image_bytes"
    IMAGES = "images"
    FALLBACK_BYTES = "fallback_bytes"
    ANSWERED = "cloud_answered"
    REFUSED = "cloud_refused"
    DROPPED = "cloud_dropped"


@dataclass(frozen=True, slots=True)
class CostDay:
    """What one station cost on one day, since 1970."""

    day: int
    station: str
    kind: Cost
    amount: float


class Costs:
    """The cost_days table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, amounts: Mapping[tuple[str, Cost], float], at: float) -> None:
        """Add to the day of `at`.

        Raises:
            TransientError: the database did not take it.
        """
        with self._database.write() as connection:
            self._add(connection, amounts, at)

    def add_summaries(self, at: float) -> None:
        """Add to the day of `at` the bytes of summaries that came since the last time, and note that in the same transaction.

        Ingest itself only counts up a station's bytes: a row a station and day would cost each batch a tenth more.

        Raises:
            TransientError: the database did not take it; the next call makes up for it.
        """
        c = station_totals.c
        query = select(c.station, c.bytes, c.bytes_costed).where(c.bytes > c.bytes_costed).order_by(c.station)
        with self._database.write() as connection:
            rows = connection.execute(query.with_for_update()).all()
            self._add(connection, {(row.station, Cost.SUMMARY_BYTES): row.bytes - row.bytes_costed for row in rows}, at)
            noted = [{"station": row.station, "bytes_costed": row.bytes} for row in rows]
            self._database.update_rows(connection, station_totals, "station", noted)

    def days(self, first: int, last: int) -> list[CostDay]:
        """Return what was counted from day `first` to `last`, by day and station."""
        c = cost_days.c
        query = select(cost_days).where(c.day >= first, c.day <= last).order_by(c.day, c.station, c.kind)
        with self._database.read() as connection:
            return [CostDay(row.day, row.station, Cost(row.kind), row.amount) for row in connection.execute(query)]

    def totals(self, first: int, last: int) -> dict[Cost, float]:
        """Return what the whole fleet cost from day `first` to `last`, by kind."""
        c = cost_days.c
        query = select(c.kind, func.sum(c.amount)).where(c.day >= first, c.day <= last).group_by(c.kind)
        with self._database.read() as connection:
            return {Cost(kind): float(amount) for kind, amount in connection.execute(query)}

    def prune(self, before_day: int) -> None:
        """Forget the days before one."""
        with self._database.write() as connection:
            connection.execute(delete(cost_days).where(cost_days.c.day < before_day))

    def _add(self, connection: Connection, amounts: Mapping[tuple[str, Cost], float], at: float) -> None:
        # In order, so that writers never wait for each other in a circle.
        day = int(at // DAY_S)
        rows = [(day, station, kind.value, float(amount)) for (station, kind), amount in sorted(amounts.items())]
        conflict = "(day, station, kind) DO UPDATE SET amount = cost_days.amount + excluded.amount"
        self._database.insert_values(connection, cost_days, ("day", "station", "kind", "amount"), rows, conflict)
