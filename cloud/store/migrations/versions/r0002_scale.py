"""`summaries` can be partitioned, merged and pruned; what is stored once, and what stations add up to, is kept beside it.

The table is copied: as much room as it takes is needed once more until the migration is over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from itertools import groupby
from operator import itemgetter
from typing import Any

from alembic import op
from sqlalchemy import Column, Connection, text

from cloud.store.migrations.tables_0002 import Number, boots, gaps, seen, station_totals, summaries
from cloud.store.sequences import Sequences

revision = "0002"
down_revision = "0001"

_SHARED = (
    "id, station, boot, seq, started_at, ended_at, received_at, bundle, captured, decided, passed, rejected, dropped, undecided,"
    " payload, camera"
)
# As `cloud.store.summary_rows.filed_at`.
_FILED = "CASE WHEN started_at BETWEEN received_at - 34560000.0 AND received_at + 86400.0 THEN started_at ELSE received_at END"
_FIRST_MONDAY_S, _WEEK_S = 345_600, 604_800
_CHUNK = 1_000


def upgrade() -> None:
    """Make the new tables and fill them from the rows that are there."""
    connection = op.get_bind()
    is_postgresql = connection.dialect.name == "postgresql"
    _remake_summaries(connection, is_postgresql)
    for table in (seen, boots, station_totals, gaps):
        table.create(connection)
    _insert(connection, seen, _digests(connection))
    missing = _fill_boots(connection)
    _fill_totals(connection, missing)
    if is_postgresql:
        op.alter_column("drift_cursor", "cursor", type_=Number)
    for name in ("tx", "position"):
        op.add_column("drift_cursor", Column(name, Number, nullable=False, server_default="0"))
    connection.execute(text("UPDATE drift_cursor SET position = cursor"))


def _remake_summaries(connection: Connection, is_postgresql: bool) -> None:
    connection.execute(text("ALTER TABLE summaries RENAME TO summaries_old"))
    if is_postgresql:
        connection.execute(text("ALTER SEQUENCE IF EXISTS summaries_id_seq RENAME TO summaries_old_id_seq"))
    summaries.create(connection)
    if is_postgresql:
        weeks = f"SELECT DISTINCT floor((({_FILED}) - {_FIRST_MONDAY_S}) / {_WEEK_S})::bigint FROM summaries_old"
        for number in sorted(connection.execute(text(weeks)).scalars().all()):
            start = _FIRST_MONDAY_S + number * _WEEK_S
            name = f"summaries_w{datetime.fromtimestamp(start, timezone.utc):%Y%m%d}"
            bounds = f"FROM ({start}) TO ({start + _WEEK_S})"
            connection.execute(text(f"CREATE TABLE {name} PARTITION OF summaries FOR VALUES {bounds}"))
    # 0: older than every transaction to come.
    copy = f"INSERT INTO summaries (tx, filed_at, {_SHARED}) SELECT 0, {_FILED}, {_SHARED} FROM summaries_old"
    connection.execute(text(copy))
    connection.execute(text("DROP TABLE summaries_old"))
    if is_postgresql:
        highest = "SELECT setval(pg_get_serial_sequence('summaries', 'id'), (SELECT max(id) FROM summaries))"
        connection.execute(text(highest))


def _digests(connection: Connection) -> Iterator[dict[str, Any]]:
    """Yield the rows of `seen`. A digest needs the payload: they are read in portions."""
    query = text("SELECT id, station, boot, seq, payload FROM summaries WHERE id > :last ORDER BY id LIMIT :most")
    last = -1
    while rows := connection.execute(query, {"last": last, "most": _CHUNK}).all():
        for row in rows:
            digest = hashlib.blake2b(bytes(row.payload), digest_size=8).digest()
            yield {"station": row.station, "boot": row.boot, "seq": row.seq, "digest": digest}
        last = rows[-1].id


def _fill_boots(connection: Connection) -> dict[str, int]:
    """Fill `boots`; return how many sequences each station lacks."""
    rows = connection.execute(
        text("SELECT station, boot, seq, ended_at FROM summaries ORDER BY station, boot, seq")
    ).all()
    missing: dict[str, int] = {}
    made = []
    for (station, boot), of_boot in groupby(rows, key=itemgetter(0, 1)):
        sequences, ended_at = Sequences(), 0.0
        for row in of_boot:
            sequences.settle(row.seq, row.seq)
            ended_at = row.ended_at
        missing[station] = missing.get(station, 0) + sequences.holes
        made.append(
            {
                "station": station,
                "boot": boot,
                "watermark": sequences.watermark,
                "highest": sequences.highest,
                "missing": sequences.to_json(),
                "highest_at": ended_at,
            }
        )
    _insert(connection, boots, made)
    return missing


def _fill_totals(connection: Connection, missing: dict[str, int]) -> None:
    names = ("captured", "decided", "passed", "rejected", "dropped", "undecided")
    sums = ", ".join(f"sum({name}) AS {name}" for name in names)
    rows = connection.execute(
        text(f"SELECT station, count(*) AS summaries, {sums} FROM summaries GROUP BY station")
    ).all()
    made = [
        {
            "station": row.station,
            "summaries": row.summaries,
            **{name: int(row._mapping[name]) for name in names},
            "missing": missing[row.station],
        }
        for row in rows
    ]
    _insert(connection, station_totals, made)


def _insert(connection: Connection, table: Any, rows: Iterable[dict[str, Any]]) -> None:
    portion: list[dict[str, Any]] = []
    for row in rows:
        portion.append(row)
        if len(portion) == _CHUNK:
            connection.execute(table.insert(), portion)
            portion = []
    if portion:
        connection.execute(table.insert(), portion)
