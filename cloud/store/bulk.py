"""PostgreSQL's own ways for much at once, which SQLAlchemy has no words for: COPY, and statements that wait for no answer.

psycopg is asked by itself within; what breaks is raised as SQLAlchemy raises it, so that whoever caught that catches this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

from cloud.store.arrays import element_type


@contextmanager
def in_one_go(connection: Connection) -> Iterator[None]:
    """Send the statements executed within, and the commit, without waiting for each; on leaving, all is done.

    None of them may return rows. One that breaks ends those after it, so that nothing is committed, and is raised at one of them
    or on leaving. Source: PostgreSQL 18, 32.5 "Pipeline Mode".
    """
    driver = _driver(connection)
    with _as_sqlalchemy(connection), driver.pipeline():
        yield
        driver.execute("COMMIT")


def ask_in_one_go(connection: Connection, *queries: tuple[str, Mapping[str, Any]]) -> list[list[tuple[Any, ...]]]:
    """Return the rows of each query, executed one after the other: each sees what the locks of those before it waited for."""
    driver = _driver(connection)
    with _as_sqlalchemy(connection):
        with driver.pipeline():
            cursors = [driver.execute(query, parameters) for query, parameters in queries]
        return [cursor.fetchall() for cursor in cursors]


def copy_rows(connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows whose values are in the order of `columns`: COPY in binary. Not `in_one_go`."""
    with _as_sqlalchemy(connection), _driver(connection).cursor() as cursor, cursor.copy(_copy(table, columns)) as copy:
        copy.set_types(_kinds(table, columns))
        for row in rows:
            copy.write_row(row)


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


@contextmanager
def _as_sqlalchemy(connection: Connection) -> Iterator[None]:
    dialect = connection.dialect
    try:
        yield
    except dialect.loaded_dbapi.Error as error:
        raise DBAPIError.instance(None, None, error, dialect.loaded_dbapi.Error, dialect=dialect) from error


@lru_cache(maxsize=16)
def _copy(table: Table, columns: tuple[str, ...]) -> str:
    return f"COPY {table.name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"


@lru_cache(maxsize=16)
def _kinds(table: Table, columns: tuple[str, ...]) -> list[str]:
    return [element_type(table, name) for name in columns]
