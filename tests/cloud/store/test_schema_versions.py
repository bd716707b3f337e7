"""A database of any older version comes to the same tables as a fresh one, once, whoever opens it; a newer one is left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from cloud.ports.batch import Batch
from cloud.ports.records import Cursor
from cloud.store import schema
from cloud.store.database import Database
from cloud.store.migrations import tables_0001
from contract.codec import encode_summary
from contract.errors import InvalidConfig
from tests.fakes.cloud_tables import T0, open_tables, summary


@pytest.fixture
def empty_url(new_database: Callable[..., str]) -> str:
    return new_database(empty=True)


def shape(engine: Engine) -> dict[str, Any]:
    """Return all that the engine knows of every table, in an order of its own."""
    found = inspect(engine)
    tables: dict[str, Any] = {}
    for name in sorted(found.get_table_names()):
        columns = {
            c["name"]: (str(c["type"]), c["nullable"], str(c["default"]).replace("_old", ""))
            for c in found.get_columns(name)
        }
        indexes = sorted((i["name"], tuple(i["column_names"]), i["unique"]) for i in found.get_indexes(name))
        keys = found.get_pk_constraint(name)["constrained_columns"]
        foreign = [(f["constrained_columns"], f["referred_table"]) for f in found.get_foreign_keys(name)]
        unique = [u["column_names"] for u in found.get_unique_constraints(name)]
        tables[name] = (columns, indexes, keys, foreign, unique)
    tables["how columns are stored"] = storages(engine)
    engine.dispose()
    return tables


def storages(engine: Engine) -> dict[tuple[str, str], str]:
    """Return how PostgreSQL stores each column, partitions' too: "p" plain, "e" as it is, "x" compressed, "m" that and inline."""
    if engine.dialect.name != "postgresql":
        return {}
    query = """SELECT c.relname, a.attname, a.attstorage::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped"""
    with engine.connect() as connection:
        return {(table, column): kind for table, column, kind in connection.execute(text(query))}


def make_old(url: str, seqs: tuple[int, ...] = ()) -> None:
    """Make a database as the version before migrations did, with these summaries of one boot."""
    engine = create_engine(url)
    with engine.begin() as connection:
        tables_0001.metadata.create_all(connection)
        for seq in seqs:
            h, a, payload = (s := summary("s1", seq)).header, s.accounting, encode_summary(s)
            row = {"station": "s1", "boot": h.boot, "seq": seq, "started_at": h.started_at, "ended_at": h.ended_at}
            row |= {
                "received_at": T0,
                "bundle": h.bundle,
                "captured": a.captured,
                "decided": a.decided,
                "passed": a.passed,
            }
            row |= {"rejected": a.rejected, "dropped": 1, "undecided": 0, "payload": payload, "camera": ""}
            connection.execute(tables_0001.summaries.insert().values(**row))
        connection.execute(tables_0001.drift_cursor.insert().values(id=1, cursor=2))
    engine.dispose()


def test_the_newest_revision_is_the_one_the_program_works_with() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.Path(schema.__file__).with_name("migrations")))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_a_migrated_database_has_the_tables_of_a_fresh_one(empty_url: str, new_database: Callable[..., str]) -> None:
    fresh = new_database()
    make_old(empty_url)
    Database(empty_url).close()
    Database(fresh).close()
    assert shape(create_engine(empty_url)) == shape(create_engine(fresh))


def test_payloads_are_stored_as_they_are_in_every_partition(empty_url: str, new_database: Callable[..., str]) -> None:
    make_old(empty_url, (1,))  # its week is a partition of the migration
    for url in (empty_url, new_database()):
        tables = open_tables(url)
        new = summary("s1", 2)
        tables.batches.commit(Batch(summaries=[(new, encode_summary(new))]), T0 + 14 * 86_400.0)
        kinds = {where: kind for where, kind in storages(tables.database.engine).items() if where[1] == "payload"}
        assert set(kinds.values()) <= {"e"}, kinds
        if tables.database.is_postgresql:
            assert sum(table.startswith("summaries_w") for table, _ in kinds) == 1
        tables.database.close()


def test_a_migrated_database_knows_its_summaries_again_and_goes_on(empty_url: str) -> None:
    make_old(empty_url, (1, 2, 3, 5))
    tables = open_tables(empty_url)
    (total,) = tables.summaries.totals()
    assert (total.summaries, total.captured, total.missing_seqs) == (4, 44, 1)
    cursor, _ = tables.alarms.load_state()
    assert cursor == Cursor(0, 2, 2)
    assert len(tables.summaries.after(cursor, 10)) == 2
    same, other, late, next_one = summary("s1", 5), summary("s1", 5, passed=1), summary("s1", 4), summary("s1", 6)
    batch = Batch(summaries=[(each, encode_summary(each)) for each in (same, other, late, next_one)])
    outcome = tables.batches.commit(batch, T0)
    assert (outcome.new, [key.seq for key in outcome.conflicts]) == (2, [5])
    assert len(tables.summaries.after(cursor, 10)) == 4, "new rows come after those that were there"
    assert tables.summaries.totals()[0].missing_seqs == 0
    tables.database.close()


def test_several_that_open_an_old_database_at_once_migrate_it_once(empty_url: str) -> None:
    make_old(empty_url, (1, 2))
    failed: list[Exception] = []

    def open_it() -> None:
        try:
            Database(empty_url).close()
        except Exception as error:  # noqa: BLE001 - told by the assertion below
            failed.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    tables = open_tables(empty_url)
    assert [t.summaries for t in tables.summaries.totals()] == [2]
    tables.database.close()


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(database_url: str) -> None:
    database = Database(database_url)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(InvalidConfig, match="version 9999") as caught:
        Database(database_url)
    assert "newer plumbline-cloud" in caught.value.hint
    database = Database(database_url, upgrade=False)
    with database.read() as connection:
        assert schema.schema_version(connection) == "9999"
    database.close()


def test_a_migration_that_is_broken_off_leaves_the_old_database(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(empty_url, (1, 2))
    old = shape(create_engine(empty_url))
    with monkeypatch.context() as patched:
        patched.setattr(schema, "migrate", lambda connection, to: _migrate_and_break(connection, to))
        with pytest.raises(KeyboardInterrupt):
            Database(empty_url)
    assert shape(create_engine(empty_url)) == old
    tables = open_tables(empty_url)
    assert [t.summaries for t in tables.summaries.totals()] == [2]
    tables.database.close()


_migrate = schema.migrate


def _migrate_and_break(connection: Any, to: str) -> None:
    _migrate(connection, to)
    raise KeyboardInterrupt
