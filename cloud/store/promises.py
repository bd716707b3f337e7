"""Hours of promises: counted in the transaction of the batch that tells of them, so that nothing counts twice or not at all.

Each writer adds to rows of its own (`shard`): workers that commit side by side do not wait for each other over one row an hour.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sqlalchemy import Connection, Select, delete, exists, func, or_, select

from cloud.slo.freshness import fresh_minutes
from cloud.slo.tally import Promise, Tally
from cloud.store.certificate_tables import certificates
from cloud.store.database import Database
from cloud.store.operate_tables import slo_hours, slo_marks
from cloud.store.tables import alarms, desired, station_status, stations

SHARDS = 16


def add_tallies(
    database: Database, connection: Connection, tallies: Mapping[tuple[int, Promise], Tally], shard: int
) -> None:
    """Add to hours, in the transaction at hand."""
    rows = [
        {"hour": hour, "promise": promise.value, "shard": shard % SHARDS, "good": int(t.good), "total": int(t.total)}
        for (hour, promise), t in sorted(tallies.items())
        if t.total
    ]
    database.upsert_rows(connection, slo_hours, ("hour", "promise", "shard"), rows, add=True)


class PromiseHours:
    """The slo_hours and slo_marks tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self, hour: int) -> dict[Promise, dict[int, Tally]]:
        """Return what was counted in `hour` and after it."""
        c = slo_hours.c
        query = select(c.promise, c.hour, func.sum(c.good), func.sum(c.total)).where(c.hour >= hour)
        found: dict[Promise, dict[int, Tally]] = {each: {} for each in Promise}
        with self._database.read() as connection:
            for promise, at, good, total in connection.execute(query.group_by(c.promise, c.hour)):
                found[Promise(promise)][int(at)] = Tally(int(good), int(total))
        return found

    def alarms_since(self, at: float) -> list[tuple[float, float | None]]:
        """Return (opened at, closed at) of the alarms opened at `at` or later."""
        query = select(alarms.c.opened_at, alarms.c.closed_at).where(alarms.c.opened_at >= at)
        with self._database.read() as connection:
            return [(opened, closed) for opened, closed in connection.execute(query)]

    def count_fresh(self, now: float, fresh_s: float) -> None:
        """Count how fresh the data is of each station that counts, for the minutes since it was last counted.

        A station that was ordered to stop, whose certificates were all taken back, or that never sent anything does not count.
        """
        name = Promise.FRESHNESS.value
        with self._database.write() as connection:
            row = {"promise": name, "mark": -1}
            self._database.insert_rows(connection, slo_marks, [row], ignore_known=True)
            query = select(slo_marks.c.mark).where(slo_marks.c.promise == name).with_for_update()
            mark = int(connection.execute(query).scalar_one())
            heard = np.array(connection.execute(_heard_at()).scalars().all(), np.float64)
            minute, hours = fresh_minutes(heard, mark if mark >= 0 else None, now, fresh_s)
            if minute == mark:
                return
            add_tallies(self._database, connection, {(h, Promise.FRESHNESS): t for h, t in hours.items()}, 0)
            connection.execute(slo_marks.update().where(slo_marks.c.promise == name).values(mark=minute))

    def prune(self, before_hour: int) -> None:
        """Forget the hours before one."""
        with self._database.write() as connection:
            connection.execute(delete(slo_hours).where(slo_hours.c.hour < before_hour))


def _heard_at() -> Select[tuple[float]]:
    """Return the query of when each station that counts was last heard."""
    s, c = stations.c, certificates.c
    joined = stations.join(station_status, s.station == station_status.c.station).outerjoin(
        desired, desired.c.station == s.station
    )
    of_it = select(c.serial).where(c.kind == "station", c.subject == s.station)
    gone = exists(of_it) & ~exists(of_it.where(c.revoked_at.is_(None)))
    runs = or_(desired.c.station.is_(None), desired.c.bundle != "")
    return select(station_status.c.summary_at).select_from(joined).where(station_status.c.summary_at > 0, runs, ~gone)
