"""What retrains learn, in the tables: kept with the retrain, and for those of before as it was decided then."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, text

from cloud.ports.alarms import Opened
from cloud.ports.records import Cursor
from cloud.store import schema
from cloud.store.migrations import tables_0001
from tests.fakes.cloud_tables import T0, Tables, note, open_tables, received, summary


def kept(tables: Tables, *names: str, station: str = "s1", alarm: int | None = None, seq: int = 1) -> None:
    notes = tuple(note(name, at=T0 + n) for n, name in enumerate(names))
    tables.summaries.commit(received(summary(station, seq, samples=notes)), [])
    tables.samples.mark_requested(names, alarm, T0)


def end(tables: Tables, retrain: int, state: str = "released") -> None:
    tables.alarms.update_retrain(retrain, state=state, ended_at=T0 + 100)


def test_a_retrain_keeps_what_it_learns_and_only_one_that_was_released_has_learnt_it(tables: Tables) -> None:
    kept(tables, "a", "b", "c")
    for name in ("a", "b"):
        tables.samples.label(name, "good", "eva", T0 + 5)
    book = tables.alarms
    assert book.unlearnt("s1") == {"a", "b"} and book.unlearnt("s2") == set()
    one = book.start_retrain(None, "why", T0, series="s1")
    tables.samples.label("c", "good", "eva", T0 + 1)
    assert book.lesson(one) == {"a": "good", "b": "good"} and book.unlearnt("s1") == {"a", "b", "c"}
    end(tables, one, "failed")
    assert book.unlearnt("s1") == {"a", "b", "c"}
    two = book.start_retrain(None, "why", T0, series="s1")
    book.leave_out(two, ["b"])
    end(tables, two)
    assert book.lesson(two) == {"a": "good", "c": "good"} and book.unlearnt("s1") == {"b"}
    tables.samples.label("a", "dent", "eva", T0 + 9)
    assert book.unlearnt("s1") == {"a", "b"}
    book.leave_out(two, [])


def test_a_shared_alarms_lesson_is_of_every_station_that_has_labels_of_it(tables: Tables) -> None:
    tables.alarms.commit(Cursor(0, 1, 1), {}, [Opened("fleet", T0, T0, "covariate_shift", "fog")], [])
    (alarm,) = tables.alarms.open()
    kept(tables, "a", station="s1", alarm=alarm.id)
    kept(tables, "b", "x", station="s2", alarm=alarm.id)
    for name in ("a", "b"):
        tables.samples.label(name, "good", "eva", T0 + 5)
    key = tables.alarms.start_retrain(alarm, "why", T0, series="s2")
    end(tables, key)
    assert tables.alarms.lesson(key) == {"a": "good", "b": "good"}
    assert tables.alarms.unlearnt("s1") == tables.alarms.unlearnt("s2") == set()


@pytest.fixture
def empty_url(new_database: Callable[..., str]) -> str:
    return new_database(empty=True)


def test_retrains_of_before_have_learnt_what_was_decided_then(empty_url: str) -> None:
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        tables_0001.metadata.create_all(connection)
        schema.migrate(connection, "0006")
        connection.execute(
            text(
                "INSERT INTO alarms (id, station, opened_at, seen_at, cause, sentence, closed_why, camera)"
                " VALUES (1, 's1', 1, 1, 'covariate_shift', '', '', '')"
            )
        )
        for key, alarm, started in ((1, 1, 50.0), (2, None, 100.0)):
            connection.execute(
                text(
                    "INSERT INTO retrains (id, alarm, station, camera, state, reason, run, version, figures, started_at, ended_at)"
                    " VALUES (:key, :alarm, 's1', '', 'released', '', '', 'v', '{}', :started, 200)"
                ),
                {"key": key, "alarm": alarm, "started": started},
            )
        for name, alarm, at in (("of alarm", 1, 60.0), ("old", None, 90.0), ("new", None, 110.0), ("open", None, None)):
            connection.execute(
                text(
                    "INSERT INTO samples (sample, station, camera, captured_at, part, label, confidence, verdict, reason,"
                    " inclusion, bundle, alarm, truth, labelled_at) VALUES (:name, 's1', '', 1, '', 'good', 1, 'PASS', 'audit',"
                    " 1, 'd', :alarm, :truth, :at)"
                ),
                {"name": name, "alarm": alarm, "truth": None if at is None else "good", "at": at},
            )
    engine.dispose()
    tables = open_tables(empty_url)
    assert tables.alarms.lesson(1) == {"of alarm": "good"}
    assert tables.alarms.lesson(2) == {"of alarm": "good", "old": "good"}
    assert tables.alarms.unlearnt("s1") == {"new"}
    tables.database.close()
