"""PostgreSQL's pipeline and COPY, through a `Database`: all or nothing, and errors that the loops know how to live with."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from cloud.store.bulk import ask_in_one_go, copy_rows, in_one_go
from cloud.store.database import Database
from cloud.store.summary_tables import seen, station_totals
from contract.errors import InvalidConfig, TransientError
from tests.fixtures_postgres import Postgres

COLUMNS = ("station", "boot", "seq", "digest")
INSERT = "INSERT INTO station_totals (station) VALUES (%(name)s)"


@pytest.fixture
def database(postgres_url: str) -> Database:
    return Database(postgres_url)


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(select(station_totals.c.station).order_by(station_totals.c.station)).scalars())


def test_what_is_sent_in_one_go_is_committed_whole(database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql(INSERT, {"name": "before"})
        with in_one_go(connection):
            for name in ("a", "b"):
                connection.exec_driver_sql(INSERT, {"name": name})
    assert names(database) == ["a", "b", "before"]
    database.close()


@pytest.mark.parametrize("broken_at", [0, 2, 4])
def test_one_that_breaks_leaves_nothing_wherever_it_stands(database: Database, broken_at: int) -> None:
    sent = ["a", "b", "c", "d"]
    sent.insert(broken_at, "twice")
    with database.write() as connection:
        connection.exec_driver_sql(INSERT, {"name": "twice"})
    with pytest.raises(IntegrityError, match="twice"), database.write() as connection:
        connection.exec_driver_sql(INSERT, {"name": "before"})
        with in_one_go(connection):
            for name in sent:
                connection.exec_driver_sql(INSERT, {"name": name})
    assert names(database) == ["twice"]
    with database.write() as connection, in_one_go(connection):
        connection.exec_driver_sql(INSERT, {"name": "after"})
    assert names(database) == ["after", "twice"], "the connection serves on"
    database.close()


def test_an_error_of_our_own_within_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as connection, in_one_go(connection):
        connection.exec_driver_sql(INSERT, {"name": "a"})
        raise ZeroDivisionError
    assert names(database) == []
    database.close()


def test_a_connection_that_breaks_in_the_middle_is_an_error_that_passes(database: Database, postgres: Postgres) -> None:
    with pytest.raises(TransientError), database.write() as connection:
        connection.exec_driver_sql(INSERT, {"name": "a"})
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'plumbline'")
        with in_one_go(connection):
            connection.exec_driver_sql(INSERT, {"name": "b"})
    with pytest.raises(TransientError), database.write() as connection:
        connection.exec_driver_sql(INSERT, {"name": "a"})
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'plumbline'")
        copy_rows(connection, seen, COLUMNS, [("s", "b", 1, b"12345678")])
    assert names(database) == []
    database.close()


def test_copied_rows_are_there_and_a_text_that_cannot_be_is_said_as_elsewhere(database: Database) -> None:
    rows = [(f"s{n}", "b\u00e4", n, bytes([n] * 8)) for n in range(5)]
    with database.write() as connection:
        copy_rows(connection, seen, COLUMNS, rows)
    with database.read() as connection:
        found = connection.execute(select(seen).order_by(seen.c.seq)).all()
    assert [(*row[:3], bytes(row[3])) for row in found] == rows
    with pytest.raises(InvalidConfig, match="NUL"), database.write() as connection:
        copy_rows(connection, seen, COLUMNS, [("s\0", "b", 9, b"12345678")])
    with pytest.raises(DBAPIError), database.write() as connection:
        copy_rows(connection, seen, COLUMNS, [rows[0]])
    database.close()


def test_the_second_question_sees_what_the_first_one_s_lock_waited_for(database: Database) -> None:
    """Two that lock one row, one after the other: READ COMMITTED takes a snapshot a statement, in one go too."""
    with database.write() as connection:
        connection.exec_driver_sql(INSERT, {"name": "a"})
    lock = "SELECT station FROM station_totals WHERE station = %(name)s FOR UPDATE"
    look = "SELECT summaries FROM station_totals WHERE station = %(name)s"
    seen_by_other: list[object] = []

    def other() -> None:
        with database.write() as connection:
            seen_by_other.append(ask_in_one_go(connection, (lock, {"name": "a"}), (look, {"name": "a"}))[1])

    with database.write() as connection:
        ask_in_one_go(connection, (lock, {"name": "a"}))
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive(), "it waits for the lock"
        connection.execute(text("UPDATE station_totals SET summaries = 7"))
    thread.join(60)
    assert seen_by_other == [[(7,)]]
    database.close()
