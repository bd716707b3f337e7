"""The partitions of `summaries` on PostgreSQL: a week each, Monday to Monday UTC, and one for what has none yet.

A partition is made before the batch that needs it, in a transaction of its own: that takes locks which a batch must not wait for.
Where it cannot be made the rows go to `summaries_default`, and move when it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timezone

from sqlalchemy import ColumnElement, Connection, func, select, text

from cloud.store.database import Database
from cloud.store.summary_tables import summaries
from contract.errors import TransientError

WEEK_S = 7 * 86_400.0
# 1970 began on a Thursday.
_FIRST_MONDAY_S = 4 * 86_400.0
# Any number but that of `cloud.store.schema`.
_LOCK = 0x504C_4D43
# A batch waits no longer than this for whoever reads the table (a backup, say); then the rows go to the default partition.
_PATIENCE_MS = 1_000
_AGAIN_S = 60.0

_NAMES = """SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'summaries'::regclass ORDER BY c.relname"""


def week_of(at: float) -> float:
    """Return the Unix time at which the week of `at` began."""
    return _FIRST_MONDAY_S + math.floor((at - _FIRST_MONDAY_S) / WEEK_S) * WEEK_S


def partition_name(week: float) -> str:
    """Return the name of the partition of the week that began at `week`."""
    return f"summaries_w{datetime.fromtimestamp(week, timezone.utc):%Y%m%d}"


def partition_names(connection: Connection) -> list[str]:
    """Return the partitions that are there."""
    return list(connection.execute(text(_NAMES)).scalars())


class Partitions:
    """Makes the weeks' partitions, and drops old ones. On SQLite there are none, and it does nothing."""

    def __init__(self, database: Database, patience_ms: int = _PATIENCE_MS) -> None:
        self._database, self._patience_ms = database, patience_ms
        self._made: set[float] = set()
        self._failed_at = -_AGAIN_S

    def make(self, times: Iterable[float], now: float) -> None:
        """Make the partitions of the weeks of `times` where they are missing and that can be done; else not again for a minute."""
        if not self._database.is_postgresql:
            return
        missing = {week_of(at) for at in times} - self._made
        if not missing or 0.0 <= now - self._failed_at < _AGAIN_S:
            return
        try:
            for week in sorted(missing):
                with self._database.write() as connection:
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {self._patience_ms}")
                    _make(connection, week)
                self._made.add(week)
        except TransientError:
            self._failed_at = now

    def drop_before(self, connection: Connection, at: float, if_all: ColumnElement[bool]) -> int:
        """Drop the partitions of weeks over before `at` all of whose rows are `if_all`; return how many rows that were."""
        if not self._database.is_postgresql:
            return 0
        gone, kept = 0, partition_name(week_of(at))
        for name in partition_names(connection):
            if name == "summaries_default" or name >= kept:
                continue
            rows = select(func.count(), func.count().filter(if_all)).select_from(summaries)
            bounds = (summaries.c.filed_at >= (week := _week_named(name)), summaries.c.filed_at < week + WEEK_S)
            total, droppable = connection.execute(rows.where(*bounds)).one()
            if total != droppable:
                continue
            # In the order in which DROP TABLE locks them. Counted again: a late window that came meanwhile would go unread.
            connection.exec_driver_sql("LOCK TABLE ONLY summaries IN ACCESS EXCLUSIVE MODE")
            total, droppable = connection.execute(rows.where(*bounds)).one()
            if total == droppable:
                connection.exec_driver_sql(f"DROP TABLE {name}")
                self._made.discard(week)
                gone += total
        return gone


def _week_named(name: str) -> float:
    day = datetime.strptime(name.removeprefix("summaries_w"), "%Y%m%d")
    return day.replace(tzinfo=timezone.utc).timestamp()


def _make(connection: Connection, week: float) -> None:
    name, start, end = partition_name(week), week, week + WEEK_S
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    if name in partition_names(connection):
        return
    connection.exec_driver_sql(
        f"CREATE TABLE {name} (LIKE summaries INCLUDING DEFAULTS INCLUDING INDEXES INCLUDING STORAGE)"
    )
    # Nobody may put a row of this week into the default partition between the move and the attachment.
    connection.exec_driver_sql("LOCK TABLE summaries_default IN ACCESS EXCLUSIVE MODE")
    connection.exec_driver_sql(
        f"WITH moved AS (DELETE FROM summaries_default WHERE filed_at >= {start} AND filed_at < {end} RETURNING *)"
        f" INSERT INTO {name} SELECT * FROM moved"
    )
    connection.exec_driver_sql(f"ALTER TABLE summaries ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})")
