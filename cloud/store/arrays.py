"""Many rows in one statement on PostgreSQL: a column is an array, and unnest makes rows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Boolean, Float, Integer, LargeBinary, String, Table


@lru_cache(maxsize=64)
def array_insert(table: Table, columns: tuple[str, ...], on_conflict: str = "") -> str:
    """Return INSERT ... SELECT FROM unnest(...) with a parameter a column, an array each, and what follows ON CONFLICT."""
    arrays = ", ".join(f"%({name})b::{_array_type(table, name)}" for name in columns)
    conflict = f" ON CONFLICT {on_conflict}" if on_conflict else ""
    return f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM unnest({arrays}){conflict}"


@lru_cache(maxsize=64)
def array_update(table: Table, key: str, columns: tuple[str, ...]) -> str:
    """Return UPDATE ... FROM unnest(...) with a parameter a column: each row of `table` with a `key` gets its other columns."""
    arrays = ", ".join(f"%({name})b::{_array_type(table, name)}" for name in columns)
    changed = ", ".join(f"{name} = new.{name}" for name in columns if name != key)
    new = f"unnest({arrays}) AS new({', '.join(columns)})"
    return f"UPDATE {table.name} SET {changed} FROM {new} WHERE {table.name}.{key} = new.{key}"


@lru_cache(maxsize=64)
def value_insert(table: Table, columns: tuple[str, ...], on_conflict: str = "") -> str:
    """Return the same for SQLite, one row at a time: parsed once, and run many times within one call."""
    conflict = f" ON CONFLICT {on_conflict}" if on_conflict else ""
    values = ", ".join("?" for _ in columns)
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({values}){conflict}"


def doing_update(table: Table, columns: Sequence[str], keys: Sequence[str], add: bool) -> str:
    """Return the ON CONFLICT part that replaces the other columns by the new row's, or adds to them."""
    own = f"{table.name}." if add else ""
    changed = [f"{name} = {own}{name} + excluded.{name}" if add else f"{name} = excluded.{name}" for name in columns]
    kept = [each for each, name in zip(changed, columns, strict=True) if name not in keys]
    return f"({', '.join(keys)}) DO UPDATE SET {', '.join(kept)}"


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
