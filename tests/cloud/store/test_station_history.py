"""What one station told over time, on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from sqlalchemy import text

from cloud.ports.alarms import Opened
from cloud.ports.records import Cursor
from cloud.store.station_history import StationHistory
from contract.codec import decode_summary
from contract.messages import GapNote, Summary
from tests.fakes.cloud_tables import T0, Tables, open_tables, received, summary


@pytest.fixture
def tables(database_url: str) -> Iterator[Tables]:
    opened = open_tables(database_url)
    opened.add_online("s1", "s10", "s2")
    yield opened
    opened.database.close()


def _at(told: Summary, at: float) -> Summary:
    header = msgspec.structs.replace(told.header, started_at=at, ended_at=at + 60)
    return msgspec.structs.replace(told, header=header)


def test_windows_of_one_station_come_oldest_first_and_the_newest_count(tables: Tables) -> None:
    for number in range(1, 8):
        for name in ("s1", "s10", "s2"):
            tables.summaries.commit(received(_at(summary(name, number), T0 + 60 * number), at=T0 + 60 * number), [])
    history = StationHistory(tables.database)
    found = history.windows("s1", T0 + 150)
    assert [decode_summary(each.payload).header.seq for each in found] == [3, 4, 5, 6, 7]
    assert {decode_summary(each.payload).header.station for each in found} == {"s1"}
    assert [decode_summary(each.payload).header.seq for each in history.windows("s1", 0.0, limit=2)] == [6, 7]
    assert history.windows("nobody", 0.0) == []


def test_the_windows_of_a_station_are_found_by_the_index_alone(tables: Tables) -> None:
    if tables.database.is_postgresql:
        pytest.skip("PostgreSQL chooses its plan by what is in the table")
    query = "EXPLAIN QUERY PLAN SELECT payload FROM summaries WHERE level = 0 AND filed_at >= 5 AND station = 's1'"
    with tables.database.read() as connection:
        plan = str(connection.execute(text(query)).all())
    assert "summaries_by_age" in plan and "SCAN" not in plan


def test_sequences_that_never_came_and_gaps_are_told(tables: Tables) -> None:
    tables.summaries.commit(received(summary("s1", 1), summary("s1", 5), summary("s2", 1), at=T0), [])
    told = summary("s1", 6)
    gap = GapNote(4, "disk full <b>")
    signed = msgspec.structs.replace(told, gap=gap)
    tables.summaries.commit(received(signed, at=T0 + 9), [])
    history = StationHistory(tables.database)
    (boot,) = history.boots("s1")
    assert (boot.boot, boot.highest, boot.missing) == ("b1", 6, ((2, 4),))
    (row,) = history.gaps("s1")
    assert (row.windows, row.why, row.verified) == (4, "disk full <b>", False)
    assert history.boots("nobody") == [] and history.gaps("s2") == []


def test_an_alarm_of_a_second_camera_is_on_its_stations_timeline(tables: Tables) -> None:
    for series in ("s1/top", "s10/top"):
        tables.alarms.commit(Cursor(), {}, [Opened(series, T0, T0, "covariate_shift", f"{series} sees less")], [])
    entries, total = StationHistory(tables.database).timeline("s1")
    assert total == 1 and [(each.kind, each.what) for each in entries] == [("alarm", "s1/top sees less")]


def test_the_timeline_holds_all_that_happened_to_one_station_newest_first(tables: Tables) -> None:
    tables.alarms.commit(Cursor(), {}, [Opened("s1", T0 + 1, T0, "covariate_shift", "lens: sharpness -8 sd")], [])
    tables.alarms.commit(Cursor(), {}, [Opened("s10", T0 + 1, T0, "covariate_shift", "not mine")], [])
    book = tables.rollouts
    rollout = book.create("v2", "d" * 64, [["s1"], ["s2"]], [], "anna", T0 + 2)
    tables.audit.append(T0 + 3, "anna", "re-enrol", "s1: new lamp")
    tables.audit.append(T0 + 4, "anna", "re-enrol", "s1/left: new lamp")
    tables.audit.append(T0 + 5, "anna", "re-enrol", "s10: not mine")
    tables.audit.append(T0 + 6, "anna", "stop station", "s1: a finger in the belt")
    history = StationHistory(tables.database)
    entries, total = history.timeline("s1")
    assert [(each.kind, each.what) for each in entries] == [
        ("act", "stop station by anna"),
        ("act", "re-enrol by anna"),
        ("act", "re-enrol by anna"),
        ("rollout", "v2: planned"),
        ("alarm", "lens: sharpness -8 sd"),
    ]
    assert total == 5 and rollout == 1
    second, total = history.timeline("s1", start=2, limit=2)
    assert list(second) == list(entries[2:4]) and total == 5
    assert history.timeline("nobody") == ([], 0)
    assert history.timeline("s%") == ([], 0)
