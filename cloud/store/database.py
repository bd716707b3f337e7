"""The cloud's database: SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from cloud.store.tables import metadata
from cloud.store.upgrade import add_what_is_missing
from contract.errors import InvalidConfig, StorageFull, TransientError


class Database:
    """A database and its two kinds of transaction. Thread-safe."""

    def __init__(self, url: str) -> None:
        """Open `url` and put every table in place.

        Raises:
            InvalidConfig: the database cannot be opened.
        """
        try:
            engine = create_engine(url)
        except (ArgumentError, ImportError, ValueError) as error:
            hint = 'use e.g. "sqlite:////var/lib/plumbline/cloud.db" or "postgresql+psycopg://USER@HOST/NAME"'
            raise InvalidConfig(f"database = '{url}' is no database that can be used: {error}", hint=hint) from error
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _tune_sqlite)
            event.listen(engine, "begin", _begin)
        self._reader = engine
        self._writer = engine.execution_options(writes=True)
        try:
            metadata.create_all(self._writer)
            with self._writer.begin() as connection:
                add_what_is_missing(connection)
        except OperationalError as error:
            hint = "check `database` in cloud.toml, and that the folder exists and may be written"
            raise InvalidConfig(f"cannot open the database {url}: {error.orig}", hint=hint) from error
        except (DatabaseError, UnicodeDecodeError) as error:
            hint = "move the file away to start afresh, or restore a backup"
            raise InvalidConfig(f"{url} is no usable database: {getattr(error, 'orig', error)}", hint=hint) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one consistent state and changes nothing."""
        with self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose work is committed whole on leaving, or not at all.

        Raises:
            StorageFull: the disk is full; nothing was written.
            TransientError: the database is locked or not reached; nothing was written.
        """
        try:
            with self._writer.begin() as connection:
                yield connection
        except OperationalError as error:
            if "disk is full" in str(error.orig):
                hint = "free space; stations keep their summaries until it is there"
                raise StorageFull("the database's disk is full", hint=hint) from error
            raise TransientError(f"the database did not take it: {error.orig}", hint="it is tried again") from error

    def insert_new(self, table: Table) -> Any:
        """Return INSERT ... ON CONFLICT DO NOTHING."""
        return self._insert(table).on_conflict_do_nothing()

    def upsert(self, table: Table, key: str, values: dict[str, Any]) -> Any:
        """Return an INSERT of `values` that updates the row with the same `key` instead."""
        statement = self._insert(table).values(**values)
        return statement.on_conflict_do_update(index_elements=[key], set_={k: v for k, v in values.items() if k != key})

    def close(self) -> None:
        """Close every connection."""
        self._reader.dispose()

    def _insert(self, table: Table) -> Any:
        return (postgresql if self._reader.dialect.name == "postgresql" else sqlite).insert(table)


def _tune_sqlite(connection: Any, _record: Any) -> None:
    # WAL lets pages and loops read while one writes; FULL makes a commit survive a power cut, which dn/ack relies on.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A deferred transaction that turns into a write while another writes fails at once, whatever the busy timeout.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
