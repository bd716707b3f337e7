"""The audit log: no line can be changed or taken out unseen."""

from __future__ import annotations

import threading

import pytest

from cloud.store.audit import write_audit
from tests.fakes.cloud_tables import T0, Tables


def _fill(tables: Tables, count: int = 5) -> None:
    for number in range(count):
        tables.audit.append(T0 + number, "operator", "act", f"detail {number}")


def test_entries_come_oldest_first_and_the_limit_keeps_the_newest(tables: Tables) -> None:
    _fill(tables)
    assert [e.detail for e in tables.audit.entries(limit=2)] == ["detail 3", "detail 4"]
    assert [e.detail for e in tables.audit.entries(after=3)] == ["detail 3", "detail 4"]
    assert tables.audit.first_broken() is None


@pytest.mark.parametrize("column", ["at", "actor", "act", "detail", "hash"])
def test_a_changed_entry_is_found(tables: Tables, column: str) -> None:
    _fill(tables)
    with tables.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE audit SET {column} = 7 WHERE id = 3")
    assert tables.audit.first_broken() == 3


@pytest.mark.parametrize("gone", [1, 3])
def test_a_removed_entry_is_found_at_the_one_after(tables: Tables, gone: int) -> None:
    _fill(tables)
    with tables.database.write() as connection:
        connection.exec_driver_sql(f"DELETE FROM audit WHERE id = {gone}")
    assert tables.audit.first_broken() == gone + 1


def test_two_entries_that_change_places_are_found(tables: Tables) -> None:
    _fill(tables)
    with tables.database.write() as connection:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            connection.exec_driver_sql(f"UPDATE audit SET id = {new} WHERE id = {old}")
    assert tables.audit.first_broken() == 2


def test_an_act_that_is_rolled_back_leaves_no_entry(tables: Tables) -> None:
    with pytest.raises(KeyError), tables.database.write() as connection:
        write_audit(connection, T0, "operator", "act", "that never happened")
        raise KeyError
    assert tables.audit.entries() == []


def test_a_whole_number_of_seconds_and_words_of_any_script_keep_the_chain(tables: Tables) -> None:
    tables.audit.append(1_795_200_000, "Żaneta", "act", "täglich 日本 \n '; DROP TABLE audit; --")
    tables.audit.append(T0 + 1 / 3, "operator", "act", "")
    assert tables.audit.first_broken() is None and len(tables.audit.entries()) == 2


def test_writers_at_the_same_time_make_one_chain(tables: Tables) -> None:
    threads = [threading.Thread(target=_fill, args=(tables, 15)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tables.audit.entries()) == 60 and tables.audit.first_broken() is None
