"""`plumbline-cloud database` says what is there, and upgrades only when told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from cloud.__main__ import main
from cloud.store.migrations import tables_0001
from cloud.store.schema import HEAD
from tests.fakes.cloud_tables import open_tables, received, summary


def config_for(folder: Path, url: str) -> Path:
    config = folder / "cloud.toml"
    config.write_text(f'home = "{folder}"\ndatabase = "{url}"\n')
    return config


def test_status_shows_an_old_database_as_it_is_and_upgrade_brings_it_up(
    new_database: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = new_database(empty=True)  # type: ignore[operator]
    engine = create_engine(url)
    tables_0001.metadata.create_all(engine)
    engine.dispose()
    config = config_for(tmp_path, url)
    for _ in range(2):
        assert main(["database", "status", "--config", str(config)]) == 0
        said = capsys.readouterr().out
        assert f"0000 (this program: {HEAD})" in said and "plumbline-cloud database upgrade" in said
    assert main(["database", "upgrade", "--config", str(config)]) == 0
    said = capsys.readouterr().out
    assert f"{HEAD} (this program: {HEAD})" in said and "station_totals" in said and "database upgrade" not in said


def test_status_of_a_newer_database_does_not_say_to_upgrade_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'cloud.db'}"
    config = config_for(tmp_path, url)
    assert main(["database", "upgrade", "--config", str(config)]) == 0
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9000'"))
    engine.dispose()
    capsys.readouterr()
    assert main(["database", "status", "--config", str(config)]) == 0
    said = capsys.readouterr().out
    assert "update this one" in said and "database upgrade" not in said


def test_status_counts_rows_and_partitions_as_json(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = open_tables(database_url)
    tables.summaries.commit(received(summary("s1", 1), summary("s1", 2)), [])
    tables.database.close()
    assert main(["database", "status", "--json", "--config", str(config_for(tmp_path, database_url))]) == 0
    view = json.loads(capsys.readouterr().out)
    assert (view["version"], view["rows"]["summaries"], view["summaries"]) == (HEAD, 2, {"as sent": 2})
    assert view["bytes"] > 0 and view["engine"].split()[0] in ("SQLite", "PostgreSQL")
    assert sum(view["partitions"].values()) == (2 if "postgresql" in database_url else 0)


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_for(tmp_path, "postgresql://somebody:secret@127.0.0.1:1/x")
    assert main(["database", "status", "--config", str(config)]) == 1
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1 and "cannot open the database" in said and "server runs" in said and "secret" not in said
    )
