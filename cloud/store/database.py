"""The cloud's database: SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    String,
    Table,
    bindparam,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from cloud.store.arrays import array_insert, array_update, as_arrays, doing_update, value_insert
from cloud.store.bulk import copy_rows, in_one_go
from cloud.store.database_file import DatabaseFile
from cloud.store.restored import is_of_another_server, number_anew
from cloud.store.schema import bring_up_to_date, lift_timeouts
from contract.errors import InvalidConfig, StorageFull, TransientError

# A worker has one thread that writes and few that read. What hangs must end: other workers wait behind its row locks.
_POOL: dict[str, Any] = {"pool_size": 4, "max_overflow": 6, "pool_pre_ping": True, "pool_timeout": 30.0}
_TIMEOUTS_MS = {"statement_timeout": 120_000, "lock_timeout": 30_000, "idle_in_transaction_session_timeout": 60_000}
_CONNECT_TIMEOUT_S = 10
_WAL_TRIES, _WAL_PAUSE_S = 200, 0.05
# SQLSTATEs that pass though psycopg does not call them operational: read-only (a standby that is about to lead), ended while idle.
_PASSING = {"25006", "25P03", "25P04"}
# What it says of a NUL in an array; of one that is alone psycopg says it, without a number.
_NUL = "22021"


class CannotOpen(InvalidConfig):
    """The database is not reached, or is none; what names it may be right all the same."""


class Database:
    """A database and its two kinds of transaction. Thread-safe."""

    def __init__(self, url: str, *, upgrade: bool = True) -> None:
        """Open `url` and bring its tables up to date (not where `upgrade` is false).

        Raises:
            CannotOpen: the database cannot be opened.
            InvalidConfig: it names none, or a newer version made it.
        """
        try:
            engine = _engine(url)
        except (ArgumentError, ImportError, ValueError) as error:
            hint = 'use e.g. "sqlite:////var/lib/plumbline/cloud.db" or "postgresql+psycopg://USER@HOST/NAME"'
            raise InvalidConfig(f"database = '{url}' is no database that can be used: {error}", hint=hint) from error
        self._reader = engine
        self._writer = engine.execution_options(writes=True)
        self.is_postgresql = engine.dialect.name == "postgresql"
        name = engine.url.database
        is_file = engine.dialect.name == "sqlite" and name and name != ":memory:"
        self._file = DatabaseFile(Path(name) if is_file and name else None)
        event.listen(engine, "do_connect", self._refuse_stranger)
        try:
            self._open(upgrade)
            self._file.opened()
        except BaseException:
            self.close()
            raise

    @property
    def engine(self) -> Engine:
        """The engine, for looking at the schema."""
        return self._reader

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one consistent state and changes nothing.

        Raises:
            TransientError: the database is not reached.
            InvalidConfig: a text has a NUL, which PostgreSQL takes from nobody.
        """
        try:
            with self._reader.connect() as connection:
                yield connection
        except NoConnectionFree as error:
            raise _none_free() from error
        except DBAPIError as error:
            _raise_passing(error)
            raise

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose work is committed whole on leaving, or not at all.

        Raises:
            StorageFull: the disk is full; nothing was written.
            TransientError: the database is locked, in a deadlock, not reached, or its file is not where it was; nothing was
                written, or, where the connection broke or the file went during the commit, perhaps all of it.
            InvalidConfig: as `read`.
        """
        self._check_file()
        try:
            with self._writer.begin() as connection:
                yield connection
        except NoConnectionFree as error:
            raise _none_free() from error
        except DBAPIError as error:
            _raise_passing(error)
            raise
        # P1: what went into a file that the next start does not find must not be acknowledged.
        self._check_file()

    def why_lost(self) -> str:
        """Return why the file of the database is none to write into any more, "" while it is where it was."""
        return self._file.why_lost()

    def insert_rows(
        self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, ignore_known: bool = False
    ) -> None:
        """Insert `rows`, which all have the same columns, in one statement.

        `ignore_known`: leave out those whose key is there.
        """
        if rows:
            columns = tuple(rows[0])
            values = [tuple([row[name] for name in columns]) for row in rows]
            self.insert_values(connection, table, columns, values, "DO NOTHING" if ignore_known else "")

    def insert_values(
        self,
        connection: Connection,
        table: Table,
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        on_conflict: str = "",
    ) -> None:
        """Insert rows whose values are in the order of `columns`: what `insert_rows` does, in half the time."""
        if not rows:
            return
        if self.is_postgresql:
            arrays = as_arrays(table, columns, rows)
            connection.exec_driver_sql(array_insert(table, columns, on_conflict), arrays)
        else:
            connection.exec_driver_sql(value_insert(table, columns, on_conflict), rows)

    def add_values(
        self, connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Insert many rows of a large table, none of which is there: what `insert_values` does, by PostgreSQL's fastest way.

        Not `in_one_go`.
        """
        if rows and self.is_postgresql:
            copy_rows(connection, table, columns, rows)
        else:
            self.insert_values(connection, table, columns, rows)

    def in_one_go(self, connection: Connection) -> AbstractContextManager[None]:
        """Send what is executed within, none of which may return rows, and commit it, without waiting for each answer."""
        return in_one_go(connection) if self.is_postgresql else nullcontext()

    def upsert_rows(
        self,
        connection: Connection,
        table: Table,
        keys: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
        *,
        add: bool = False,
    ) -> None:
        """Insert `rows`, all of the same columns; where one with its `keys` is there, its other columns are replaced or added to.

        Rows are locked in the order given: writers that give them sorted never wait for each other in a circle.
        """
        if rows:
            columns = tuple(rows[0])
            values = [tuple([row[name] for name in columns]) for row in rows]
            self.insert_values(connection, table, columns, values, doing_update(table, columns, keys, add))

    def update_rows(self, connection: Connection, table: Table, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Give the row with each `key` the other columns of `rows`, which all have the same."""
        if not rows:
            return
        columns = tuple(rows[0])
        if self.is_postgresql:
            values = [tuple([row[name] for name in columns]) for row in rows]
            connection.exec_driver_sql(array_update(table, key, columns), as_arrays(table, columns, values))
        else:
            others = [name for name in columns if name != key]
            statement = f"UPDATE {table.name} SET {', '.join(f'{name} = ?' for name in others)} WHERE {key} = ?"
            connection.exec_driver_sql(statement, [(*(row[name] for name in others), row[key]) for row in rows])

    def _heal_restored(self) -> None:
        if not self.is_postgresql:
            return
        with self._reader.connect() as connection:
            restored = is_of_another_server(connection)
        if restored:
            with self._writer.begin() as connection:
                lift_timeouts(connection)
                number_anew(connection)

    def among(self, column: Column[Any], values: Iterable[str]) -> ColumnElement[bool]:
        """Return the condition that a text column is one of `values`, however many, in one parameter."""
        if self.is_postgresql:
            wanted = bindparam(None, list(values), type_=postgresql.ARRAY(String))
            return column == func.any(wanted)
        each = func.json_each(json.dumps(list(values))).table_valued("value")
        return column.in_(select(each.c.value))

    def insert_new(self, table: Table) -> Any:
        """Return INSERT ... ON CONFLICT DO NOTHING."""
        return self._insert(table).on_conflict_do_nothing()

    def upsert(self, table: Table, key: str | Sequence[str], values: dict[str, Any]) -> Any:
        """Return an INSERT of `values` that updates the row with the same `key` instead."""
        keys = [key] if isinstance(key, str) else list(key)
        statement = self._insert(table).values(**values)
        changed = {k: v for k, v in values.items() if k not in keys}
        return statement.on_conflict_do_update(index_elements=keys, set_=changed)

    def close(self) -> None:
        """Close every connection."""
        self._reader.dispose()

    def _check_file(self) -> None:
        if why := self.why_lost():
            hint = "put it back: nothing is stored or acknowledged meanwhile; see the runbook database-gone"
            raise TransientError(why, hint=hint)

    def _refuse_stranger(self, *_: Any) -> None:
        # SQLite would make an empty file where none is, and each connection would see another database.
        if why := self.why_lost():
            raise sqlite3.OperationalError(why)

    def _open(self, upgrade: bool) -> None:
        shown = self._reader.url.render_as_string(hide_password=True)
        file = self._reader.url.database
        if not upgrade and not self.is_postgresql and file and not Path(file).exists():
            raise InvalidConfig(f"there is no database {file} yet", hint="the first `plumbline-cloud serve` makes it")
        try:
            with self._reader.connect():
                pass
            if upgrade:
                bring_up_to_date(self._writer)
                self._heal_restored()
        except OperationalError as error:
            hint = "check `database` in cloud.toml, and that the folder exists and may be written"
            if self.is_postgresql:
                hint = "check `database` in cloud.toml, and that the server runs and lets this user in"
            raise CannotOpen(f"cannot open the database {shown}: {error.orig}", hint=hint) from error
        except (DatabaseError, UnicodeDecodeError) as error:
            hint = "move the file away to start afresh, or restore a backup"
            raise CannotOpen(f"{shown} is no usable database: {getattr(error, 'orig', error)}", hint=hint) from error

    def _insert(self, table: Table) -> Any:
        return (postgresql if self.is_postgresql else sqlite).insert(table)


def _engine(url: str) -> Engine:
    for plain in ("postgres://", "postgresql://"):
        if url.startswith(plain):
            url = f"postgresql+psycopg://{url.removeprefix(plain)}"
    if url.startswith("postgresql+psycopg://"):
        options = " ".join(f"-c {name}={value}" for name, value in _TIMEOUTS_MS.items())
        connect = {"connect_timeout": _CONNECT_TIMEOUT_S, "options": options, "application_name": "plumbline"}
        return create_engine(url, connect_args=connect, **_POOL)
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin)
    return engine


def _none_free() -> TransientError:
    return TransientError("every connection to the database waits for an answer", hint="is its server well?")


def _raise_passing(error: DBAPIError) -> None:
    """Raise the TransientError that `error` is, if it is one, and InvalidConfig for a text that PostgreSQL takes from nobody."""
    said = str(error.orig)
    if "disk is full" in said or "No space left on device" in said:
        hint = "free space; stations keep their summaries until it is there"
        raise StorageFull("the database's disk is full", hint=hint) from error
    state = getattr(error.orig, "sqlstate", None)
    if "cannot contain NUL" in said or state == _NUL:
        raise InvalidConfig("a text with the character NUL cannot be stored", hint="leave it out") from error
    if isinstance(error, OperationalError) or error.connection_invalidated or state in _PASSING:
        raise TransientError(f"the database did not take it: {error.orig}", hint="it is tried again") from error


def _tune_sqlite(connection: Any, _record: Any) -> None:
    # WAL lets pages and loops read while one writes; FULL makes a commit survive a power cut, which dn/ack relies on.
    connection.isolation_level = None
    cursor = connection.cursor()
    # A batch is 2 MiB: copied from the log into the file every 32 MiB, not every second batch.
    cursor.execute("PRAGMA busy_timeout=10000")
    _use_wal(cursor)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "wal_autocheckpoint=8000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    for left in range(_WAL_TRIES, -1, -1):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # Of several that open a new file at once one turns it over; the others are told "locked" at once, busy timeout or not.
            if "locked" not in str(error) or not left:
                raise
            time.sleep(_WAL_PAUSE_S)


def _begin(connection: Connection) -> None:
    # A deferred transaction that turns into a write while another writes fails at once, whatever the busy timeout.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
