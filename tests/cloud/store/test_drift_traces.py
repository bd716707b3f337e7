"""A series' newest evidence in a real database of either kind, stored with the detectors' state or not at all."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import update

from cloud.drift.trace import POINTS, TracePoint
from cloud.ports.alarms import Opened
from cloud.ports.records import Cursor
from cloud.store.drift_traces import DriftTraces
from cloud.store.operate_tables import drift_traces
from tests.fakes.cloud_tables import T0, Tables


def points(first: int, count: int, held: float = 1.0) -> list[TracePoint]:
    return [TracePoint(int(T0) + n, held, 0.5, 0.25) for n in range(first, first + count)]


def test_points_come_with_the_state_and_coming_again_change_nothing(tables: Tables) -> None:
    traces = DriftTraces(tables.database)
    assert traces.of("s1") == ()
    for _ in range(2):
        tables.alarms.commit(
            Cursor(0, 1, 1), {"s1": b"state"}, [], [], points={"s1": points(0, 3), "s2/left": points(5, 1)}
        )
    tables.alarms.commit(Cursor(0, 2, 2), {}, [], [], points={"s1": points(2, 2, 2.0)})
    assert list(traces.of("s1")) == [*points(0, 2), *points(2, 2, 2.0)] and list(traces.of("s2/left")) == points(5, 1)
    tables.alarms.commit(Cursor(0, 3, 3), {}, [], [], points={"s1": points(10, POINTS)})
    assert list(traces.of("s1")) == points(10, POINTS)


def test_what_is_not_stored_whole_leaves_no_points(tables: Tables) -> None:
    with pytest.raises(Exception, match=r"(?i)null"):
        tables.alarms.commit(
            Cursor(0, 1, 1),
            {},
            [Opened("s1", T0, T0, "frozen", None)],
            [],
            points={"s1": points(0, 3)},  # type: ignore[arg-type]
        )
    assert DriftTraces(tables.database).of("s1") == ()


def test_a_damaged_trace_starts_anew(tables: Tables, caplog: pytest.LogCaptureFixture) -> None:
    tables.alarms.commit(Cursor(0, 1, 1), {}, [], [], points={"s1": points(0, 3)})
    with tables.database.write() as connection:
        connection.execute(update(drift_traces).values(trace=b"no trace"))
    with caplog.at_level(logging.WARNING):
        assert DriftTraces(tables.database).of("s1") == ()
    assert "the chart of s1 starts anew" in caplog.text
    tables.alarms.commit(Cursor(0, 2, 2), {}, [], [], points={"s1": points(9, 1)})
    assert list(DriftTraces(tables.database).of("s1")) == points(9, 1)
