"""The partitions of `summaries` on PostgreSQL: a week each, Monday to Monday UTC, and one for what has none yet.

A partition is made before the batch that needs it, in a transaction of its own: that takes locks which a batch must not wait for.
Where it cannot be made the rows go to `summaries_default`, and move when it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timezone

from sqlalchemy import Connection, text

from cloud.store.database import Database
from contract.errors import TransientError

WEEK_S = 7 * 86_400.0
# 1970 began on a Thursday.
_FIRST_MONDAY_S = 4 * 86_400.0
# Any number but that of `cloud.store.schema`.
_LOCK = 0x504C_4D43
# A batch waits no longer than this for whoever reads the table; then the rows go to the default partition.
_PATIENCE_MS = 2_000

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

    def __init__(self, database: Database) -> None:
        self._database = database
        self._made: set[float] = set()

    def make(self, times: Iterable[float]) -> None:
        """Make the partitions of the weeks of `times` where they are missing and that can be done now."""
        if not self._database.is_postgresql:
            return
        missing = {week_of(at) for at in times} - self._made
        for week in sorted(missing):
            try:
                with self._database.write() as connection:
                    _make(connection, week)
            except TransientError:
                continue  # somebody reads the table for long: the rows go to the default partition meanwhile
            self._made.add(week)

    def drop_before(self, connection: Connection, at: float) -> int:
        """Drop the partitions whose whole week lies before `at`; return how many rows that were."""
        gone = 0
        if self._database.is_postgresql:
            last = partition_name(week_of(at))
            for name in partition_names(connection):
                if name < last and name != "summaries_default":
                    gone += int(connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one())
                    connection.execute(text(f"DROP TABLE {name}"))
            self._made = {week for week in self._made if partition_name(week) >= last}
        return gone


def _make(connection: Connection, week: float) -> None:
    name, start, end = partition_name(week), week, week + WEEK_S
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_PATIENCE_MS}")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    if name in partition_names(connection):
        return
    connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE summaries INCLUDING DEFAULTS INCLUDING INDEXES)")
    # Nobody may put a row of this week into the default partition between the move and the attachment.
    connection.exec_driver_sql("LOCK TABLE summaries_default IN ACCESS EXCLUSIVE MODE")
    connection.exec_driver_sql(
        f"WITH moved AS (DELETE FROM summaries_default WHERE filed_at >= {start} AND filed_at < {end} RETURNING *)"
        f" INSERT INTO {name} SELECT * FROM moved"
    )
    connection.exec_driver_sql(f"ALTER TABLE summaries ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})")
