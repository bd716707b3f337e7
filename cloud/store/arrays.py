"""Many rows in one statement on PostgreSQL: a column is an array, and unnest makes rows of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Boolean, Float, Integer, LargeBinary, String, Table


@lru_cache(maxsize=64)
def array_insert(table: Table, columns: tuple[str, ...], on_conflict: str = "") -> str:
    """Return INSERT ... SELECT FROM unnest(...) with a parameter a column, an array each, and what follows ON CONFLICT."""
    arrays = ", ".join(_placeholder(table, name) for name in columns)
    conflict = f" ON CONFLICT {on_conflict}" if on_conflict else ""
    return f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM unnest({arrays}){conflict}"


@lru_cache(maxsize=64)
def array_update(table: Table, key: str, columns: tuple[str, ...]) -> str:
    """Return UPDATE ... FROM unnest(...) with a parameter a column: each row of `table` with a `key` gets its other columns."""
    arrays = ", ".join(_placeholder(table, name) for name in columns)
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


def as_arrays(table: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Return the rows, values in the order of `columns`, as a parameter a column for `array_insert` and `array_update`."""
    by_column = zip(columns, zip(*rows, strict=True), strict=True)
    return {name: _literal(values) if _is_number(table, name) else list(values) for name, values in by_column}


def _literal(values: Sequence[Any]) -> str:
    """Return numbers as PostgreSQL writes an array of them: psycopg makes an object of each, which takes five times as long."""
    return "{" + ",".join(["NULL" if value is None else repr(value) for value in values]) + "}"


def _placeholder(table: Table, name: str) -> str:
    # Bytes are sent as they are (b): as text they would be twice as many.
    return f"%({name}){'s' if _is_number(table, name) else 'b'}::{_array_type(table, name)}"


def _is_number(table: Table, name: str) -> bool:
    return _array_type(table, name) in ("bool[]", "int8[]", "float8[]")


@lru_cache(maxsize=256)
def _array_type(table: Table, name: str) -> str:
    # Of int8, PostgreSQL checks that they fit the column.
    return f"{'int8' if isinstance(table.c[name].type, Integer) else element_type(table, name)}[]"


def element_type(table: Table, name: str) -> str:
    """Return PostgreSQL's name of the type of a column."""
    kind = table.c[name].type
    if isinstance(kind, Boolean):
        return "bool"
    if isinstance(kind, BigInteger):
        return "int8"
    if isinstance(kind, Integer):
        return "int4"
    if isinstance(kind, Float):
        return "float8"
    if isinstance(kind, LargeBinary):
        return "bytea"
    assert isinstance(kind, String)
    return "text"
