"""Numbers come back as they were written, on both engines, however large or small; what does not fit is refused."""

from __future__ import annotations

import math

import pytest
from sqlalchemy import delete, select
from sqlalchemy.exc import DataError

from cloud.store.summary_tables import gaps
from tests.fakes.cloud_tables import Tables

FLOATS = (
    0.0,
    -0.0,
    0.1,
    1e-7,
    5e-324,
    -2.2250738585072014e-308,
    1.7976931348623157e308,
    1_700_000_000.123456,
    1e22,
    math.inf,
)
INTS = (0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63))


def row(number: int, at: float, whether: bool) -> dict[str, object]:
    names = {"station": "s", "boot": 'a "b" {c}, \\ ü', "camera": "", "why": "NULL"}
    return names | {
        "seq": number,
        "windows": 1,
        "started_at": at,
        "ended_at": at,
        "verified": whether,
        "received_at": at,
    }


def test_numbers_are_kept_to_the_last_bit(tables: Tables) -> None:
    rows = [row(INTS[i % len(INTS)], at, i % 2 == 0) for i, at in enumerate(FLOATS)]
    with tables.database.write() as connection:
        connection.execute(delete(gaps))
        tables.database.insert_rows(connection, gaps, rows)
        found = connection.execute(select(gaps).order_by(gaps.c.id)).all()
    assert [{name: each._mapping[name] for name in rows[0]} for each in found] == rows


def test_a_number_that_does_not_fit_is_refused_and_nothing_is_stored(tables: Tables) -> None:
    with pytest.raises((DataError, OverflowError)), tables.database.write() as connection:
        tables.database.insert_rows(connection, gaps, [row(2**63, 0.0, True)])
    with tables.database.read() as connection:
        assert connection.execute(select(gaps)).all() == []
