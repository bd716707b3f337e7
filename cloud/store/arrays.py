"""Many rows in one statement on PostgreSQL: a column is an array, and unnest makes rows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Boolean, Float, Integer, LargeBinary, String, Table


@lru_cache(maxsize=64)
def array_insert(table: Table, columns: tuple[str, ...], ignore_known: bool) -> str:
    """Return INSERT ... SELECT FROM unnest(...) with a parameter a column, an array each."""
    arrays = ", ".join(f"%({name})b::{_array_type(table, name)}" for name in columns)
    known = " ON CONFLICT DO NOTHING" if ignore_known else ""
    return f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM unnest({arrays}){known}"


def as_arrays(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the rows as a list a column."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def _array_type(table: Table, name: str) -> str:
    kind = table.c[name].type
    if isinstance(kind, Boolean):
        return "bool[]"
    if isinstance(kind, BigInteger | Integer):
        # Parameters are sent as eight bytes; PostgreSQL checks that they fit.
        return "int8[]"
    if isinstance(kind, Float):
        return "float8[]"
    if isinstance(kind, LargeBinary):
        return "bytea[]"
    assert isinstance(kind, String)
    return "text[]"
