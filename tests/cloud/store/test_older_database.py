"""A database that an older version made is taken over with every row, and by one that was already brought up to date again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import inspect

from cloud.ports.alarms import Opened
from cloud.ports.records import Cursor
from cloud.store.tables import metadata
from contract.codec import encode_summary
from tests.fakes.cloud_tables import T0, Tables, note, open_tables, received, summary

OLD_TABLES = Path(__file__).with_name("before_cameras.sql").read_text()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cloud.db"
    connection = sqlite3.connect(path)
    connection.executescript(OLD_TABLES)
    connection.execute("INSERT INTO stations VALUES ('s1', 'x', '', 1.0)")
    payload = encode_summary(summary("s1", 1))
    connection.execute(
        "INSERT INTO summaries VALUES (1, 's1', 'b1', 1, 1.0, 2.0, 3.0, ?, 11, 10, 7, 2, 1, 0, ?)", ("d" * 64, payload)
    )
    connection.execute(
        "INSERT INTO samples (sample, station, captured_at, part, label, confidence, verdict, reason, inclusion, bundle)"
        " VALUES ('x1', 's1', 5.0, 'p', 'good', 0.5, 'PASS', 'audit', 0.5, 'd')"
    )
    connection.execute(
        "INSERT INTO alarms (station, opened_at, seen_at, cause, sentence, closed_why)"
        " VALUES ('s1', 1.0, 1.0, 'frozen', 'camera: the same frame', '')"
    )
    connection.execute("INSERT INTO drift_state VALUES ('s1', x'01')")
    connection.execute(
        "INSERT INTO retrains (alarm, station, state, reason, run, version, figures, started_at)"
        " VALUES (1, 's1', 'queued', 'accuracy 0.3', '', '', '{}', 2.0)"
    )
    connection.commit()
    connection.close()
    return path


def columns(tables: Tables) -> dict[str, set[str]]:
    with tables.database.read() as connection:
        found = inspect(connection)
        return {table: {column["name"] for column in found.get_columns(table)} for table in metadata.tables}


def test_an_older_databases_rows_become_the_first_cameras(path: Path) -> None:
    for _ in range(2):
        tables = open_tables(path)
        assert columns(tables) == {name: {c.name for c in table.columns} for name, table in metadata.tables.items()}
        with tables.database.read() as connection:
            indexes = {each["name"] for each in inspect(connection).get_indexes("samples")}
        assert indexes == {"samples_by_station", "samples_by_label"}
        (alarm,) = tables.alarms.open()
        assert (alarm.series, alarm.camera, alarm.sentence) == ("s1", "", "camera: the same frame")
        (sample,) = tables.samples.unasked("s1", "", 0.0)
        assert (sample.sample, sample.camera, sample.novelty) == ("x1", "", 0.0)
        (retrain,) = tables.alarms.retrains()
        assert (retrain.series, retrain.trigger, retrain.reason) == ("s1", "drift", "accuracy 0.3")
        assert tables.alarms.decisions() == []
        assert tables.summaries.totals()[0].captured == 11
        assert tables.alarms.load_state() == (Cursor(), {"s1": b"\x01"})
        tables.database.close()


def test_what_several_cameras_say_is_stored_beside_an_older_databases_rows(path: Path) -> None:
    tables = open_tables(path)
    left = summary("s1", 2, samples=(note("x2"),), camera="left")
    assert tables.summaries.commit(received(summary("s1", 1), left), []) == 1
    with tables.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT seq, camera FROM summaries ORDER BY seq").fetchall()
    assert [tuple(row) for row in rows] == [(1, ""), (2, "left")]
    assert [s.sample for s in tables.samples.unasked("s1", "left", 0.0)] == ["x2"]
    (totals,) = tables.summaries.totals()
    assert (totals.station, totals.captured, totals.missing_seqs) == ("s1", 22, 0), "a station's sum over its cameras"
    tables.alarms.commit(Cursor(0, 1, 1), {}, [Opened("s1/left", T0, T0, "frozen", "lens")], [])
    tables.alarms.commit(Cursor(0, 2, 2), {}, [Opened("s1/left", T0, T0, "frozen", "lens")], [])
    assert [alarm.series for alarm in tables.alarms.open()] == ["s1", "s1/left"]
    tables.alarms.close("s1", T0, "mended")
    assert [alarm.series for alarm in tables.alarms.open()] == ["s1/left"]
    tables.alarms.commit(Cursor(0, 3, 3), {}, [], [("s1/left", T0, "24 quiet windows")])
    assert tables.alarms.open() == []
    tables.database.close()
