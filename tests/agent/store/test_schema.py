"""A file that is made and one that sqlite-utils brought up to date are the same, and a station's first start needs no library."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from agent.store.database import SCHEMA_VERSION, open_database
from agent.store.migrations import migrations
from agent.store.schema import STEPS


def shape(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    """Return all tables, indices and triggers, and the steps that are known to be done."""
    made = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
    steps = connection.execute("SELECT migration_set, name FROM _sqlite_migrations ORDER BY id").fetchall()
    return [*((kind, name, sql or "") for kind, name, sql in made), *steps]


def test_a_file_that_is_made_is_what_the_library_would_have_made(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "made")) as made, closing(sqlite3.connect(tmp_path / "old")) as old:
        migrations.apply(Database(old, use_counts_table=False))
        assert shape(made) == shape(old)
        assert migrations.pending(Database(made)) == []
        assert [each.name for each in migrations.applied(Database(made))] == [name for name, _ in STEPS]
        assert made.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_an_older_file_is_brought_up_to_date_step_by_step(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "made")) as made:
        for stop_before in (name for name, _ in STEPS[1:]):
            path = tmp_path / stop_before
            with closing(sqlite3.connect(path)) as old:
                migrations.apply(Database(old, use_counts_table=False), stop_before=stop_before)
            with closing(open_database(path)) as now:
                assert shape(now) == shape(made)


def test_two_that_open_a_new_file_at_once_make_it_once(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "made")) as empty:
        empty.execute("PRAGMA journal_mode = WAL")
    begin, opened = threading.Barrier(4), []

    def open_one() -> None:
        begin.wait()
        opened.append(open_database(tmp_path / "made"))

    threads = [threading.Thread(target=open_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shapes = [shape(each) for each in opened]
    assert len(shapes) == 4 and all(each == shapes[0] for each in shapes)
    for each in opened:
        each.close()


def test_a_stations_first_start_imports_no_library_for_its_tables(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom agent.store.database import open_database\n"
        "open_database(Path(sys.argv[1])).close()\nprint(sorted({'sqlite_utils', 'click', 'pluggy'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        (sys.executable, "-c", code, str(tmp_path / "made")), capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
