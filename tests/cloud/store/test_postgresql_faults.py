"""What a PostgreSQL server does to a running loop: connections that break, deadlocks, and a database restored elsewhere."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from cloud.ports.batch import Batch
from cloud.ports.records import Cursor
from contract.codec import decode_summary, encode_summary
from contract.errors import TransientError
from contract.messages import Summary
from tests.fakes.cloud_tables import T0, Tables, open_tables, summary
from tests.fixtures_postgres import Postgres


@pytest.fixture
def tables(postgres_url: str) -> Tables:
    return open_tables(postgres_url)


def commit(tables: Tables, *sent: Summary) -> int:
    return tables.batches.commit(Batch(summaries=[(each, encode_summary(each)) for each in sent]), T0).new


def test_a_connection_that_breaks_passes_and_the_batch_is_stored_once(tables: Tables, postgres: Postgres) -> None:
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'plumbline'"
    commit(tables, summary("s1", 1))
    with pytest.raises(TransientError), tables.database.write() as connection:
        connection.execute(text("INSERT INTO station_totals (station) VALUES ('s2')"))
        postgres.execute(kill)
        connection.execute(text("INSERT INTO station_totals (station) VALUES ('s3')"))
    postgres.execute(kill)
    assert commit(tables, summary("s1", 1), summary("s1", 2)) == 1, "a broken connection of the pool is not used again"
    assert [t.summaries for t in tables.summaries.totals()] == [2]
    tables.database.close()


def test_a_deadlock_is_an_error_that_passes(tables: Tables) -> None:
    commit(tables, summary("s1", 1), summary("s2", 1))
    both, caught = threading.Barrier(2, timeout=60), []

    def lock(first: str, second: str) -> None:
        try:
            with tables.database.write() as connection:
                connection.execute(text("SELECT 1 FROM station_totals WHERE station = :s FOR UPDATE"), {"s": first})
                both.wait()
                connection.execute(text("SELECT 1 FROM station_totals WHERE station = :s FOR UPDATE"), {"s": second})
        except TransientError as error:
            caught.append(error)

    other = threading.Thread(target=lock, args=("s2", "s1"))
    other.start()
    lock("s1", "s2")
    other.join()
    assert len(caught) == 1 and "deadlock" in caught[0].message
    tables.database.close()


def test_a_restored_database_is_read_on_from_where_the_watch_was(tables: Tables, postgres_url: str) -> None:
    commit(tables, summary("s1", 1), summary("s1", 2))
    tables.alarms.commit(tables.summaries.after(Cursor(), 9)[-1][0], {}, [], [])
    commit(tables, summary("s1", 3))
    with tables.database.write() as connection:
        # As a server had numbered them that was a trillion transactions older.
        connection.execute(text("UPDATE summaries SET tx = tx + 1000000000000"))
        connection.execute(text("UPDATE drift_cursor SET tx = tx + 1000000000000"))
    tables.database.close()
    for _ in range(2):
        again = open_tables(postgres_url)
        commit(again, summary("s1", 4))
        cursor, _ = again.alarms.load_state()
        assert cursor.position == 2
        unread = again.summaries.after(cursor, 9)
        assert [decode_summary(payload).header.seq for _, payload in unread] == [3, 4]
        assert again.summaries.after(unread[-1][0], 9) == []
        again.database.close()
