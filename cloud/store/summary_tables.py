"""The tables that ingest fills: summaries, what is known of their sequences, and what stations add up to.

The big one, `summaries`, knows no key but its row's id: it is partitioned, merged and pruned. That a summary is stored once is
kept by the small ones beside it (`cloud.store.batches`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    event,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from contract.ids import MAX_CAMERA_CHARS

metadata = MetaData()

# SQLite numbers rows only in a column that is an INTEGER to the letter; its integers have 64 bits anyway.
Number = BigInteger().with_variant(Integer(), "sqlite")
MAX_STATION, MAX_BOOT = 63, 64


class CurrentTransaction(FunctionElement[int]):
    """The number of the transaction that inserts a row; 0 on SQLite, where one writer at a time draws the ids."""

    inherit_cache = True


@compiles(CurrentTransaction)
def _zero(_element: Any, _compiler: Any, **_kw: Any) -> str:
    return "0"


@compiles(CurrentTransaction, "postgresql")
def _current(_element: Any, _compiler: Any, **_kw: Any) -> str:
    return "(pg_current_xact_id()::text)::bigint"


def camera_column() -> Column[str]:
    """Return the column that names a camera; "" is a station's only or first one, and whose every older row is."""
    return Column("camera", String(MAX_CAMERA_CHARS), nullable=False, default="", server_default="")


def counts(*names: str) -> list[Column[int]]:
    """Return a column for each of these counters, 0 at first."""
    return [Column(name, Number, nullable=False, default=0, server_default="0") for name in names]


# One row a summary, then one an hour, then one a day (`cloud.store.keeping`). `payload` keeps the bytes as sent, so fields this
# version does not know survive. `filed_at`: the window's start, or when it came where the station's clock cannot be right.
# `windows` is how many summaries the row stands for, `level` how coarse it is: 0 as sent, 1 an hour, 2 a day. PostgreSQL has no
# primary key here: one must hold what a table is partitioned by.
summaries = Table(
    "summaries",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("tx", BigInteger, nullable=False, server_default=CurrentTransaction()),
    Column("station", String(MAX_STATION), nullable=False),
    Column("boot", String(MAX_BOOT), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("filed_at", Float, nullable=False),
    Column("bundle", String(64), nullable=False),
    *(
        Column(n, BigInteger, nullable=False)
        for n in ("captured", "decided", "passed", "rejected", "dropped", "undecided")
    ),
    Column("payload", LargeBinary, nullable=False),
    camera_column(),
    Column("level", Integer, nullable=False, default=0, server_default="0"),
    Column("windows", Integer, nullable=False, default=1, server_default="1"),
    # The station last: rows come in about the order of time, and a page that shows one station reads the index and its own rows.
    Index("summaries_by_age", "level", "filed_at", "station"),
    Index("summaries_in_order", "tx", "id").ddl_if(dialect="postgresql"),
    sqlite_autoincrement=True,
    postgresql_partition_by="RANGE (filed_at)",
)
summaries.primary_key.ddl_if(dialect="sqlite")


def _store_plain(table: Table) -> None:
    """Have PostgreSQL not compress the payloads of `table`: that takes it longer than all else that a batch costs."""
    alter = DDL(f"ALTER TABLE {table.name} ALTER payload SET STORAGE EXTERNAL")  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", alter.execute_if(dialect="postgresql"))


# Before its partition is made, which takes after it.
_store_plain(summaries)
# Where rows go whose week has no partition yet (`cloud.store.partitions`).
event.listen(
    summaries,
    "after_create",
    DDL("CREATE TABLE summaries_default PARTITION OF summaries DEFAULT").execute_if(  # type: ignore[no-untyped-call]
        dialect="postgresql"
    ),
)

# Which summaries are stored: what a repeated (station, boot, seq) is held against, by eight bytes that its payload comes to
# (`cloud.store.digests`).
seen = Table(
    "seen",
    metadata,
    Column("station", String(MAX_STATION), nullable=False),
    Column("boot", String(MAX_BOOT), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("digest", LargeBinary(8), nullable=False),
    PrimaryKeyConstraint("station", "boot", "seq"),
    sqlite_with_rowid=False,
)

# How far each boot has come. `missing` are the ranges below `highest` that are neither stored nor covered, as JSON; all up to
# `watermark` are. `highest_at`: the end of the window with the highest sequence, by the station's clock. `birth_*`: its last birth.
boots = Table(
    "boots",
    metadata,
    Column("station", String(MAX_STATION), nullable=False),
    Column("boot", String(MAX_BOOT), nullable=False),
    *counts("watermark", "highest"),
    Column("missing", Text, nullable=False, default="[]", server_default="[]"),
    Column("highest_at", Float, nullable=False, default=0.0, server_default="0"),
    Column("birth_at", Float, nullable=False, default=0.0, server_default="0"),
    *counts("birth_next"),
    PrimaryKeyConstraint("station", "boot"),
)

# What each station has accounted for: kept up in the transaction of every batch, for the page asks every second. Of `bytes`, its
# payloads', `bytes_costed` are in the days of `cost_days` (`cloud.store.costs`).
station_totals = Table(
    "station_totals",
    metadata,
    Column("station", String(MAX_STATION), primary_key=True),
    *counts("summaries", "captured", "decided", "passed", "rejected", "dropped", "undecided"),
    *counts("missing", "conflicts", "gaps", "bytes", "bytes_costed"),
)

# What stations said they gave up for good; `verified`: signed with the station's own key (`contract.gaps`).
gaps = Table(
    "gaps",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("station", String(MAX_STATION), nullable=False),
    Column("boot", String(MAX_BOOT), nullable=False),
    Column("seq", BigInteger, nullable=False),
    camera_column(),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("windows", BigInteger, nullable=False),
    Column("why", Text, nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("received_at", Float, nullable=False),
    Index("gaps_by_station", "station", "received_at"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("received_at", Float, nullable=False),
    Column("topic", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)
_store_plain(dead_letters)
