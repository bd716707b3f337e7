"""What a person is told about a database that cannot be used."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cloud.store.database import Database
from cloud.store.summary_tables import dead_letters
from contract.errors import InvalidConfig, TransientError
from tests.fakes.cloud_tables import Tables, open_tables


def test_a_corrupt_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "cloud.db").write_bytes(b"this is no database at all, not even a bit of one" * 100)
    with pytest.raises(InvalidConfig, match=r"cloud\.db is no usable database") as caught:
        open_tables(tmp_path / "cloud.db")
    assert "restore a backup" in caught.value.hint


def test_a_folder_that_is_missing_or_no_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "missing" / "cloud.db", tmp_path / "file" / "cloud.db", tmp_path):
        with pytest.raises(InvalidConfig, match="cannot open the database") as caught:
            open_tables(place)
        assert "\n" not in caught.value.one_line() and "may be written" in caught.value.hint


@pytest.mark.parametrize(
    "url", ["nonsense", "nosuchdb://x", "postgresql://nobody@127.0.0.1:1/x", "sqlite:///x?timeout=soon"]
)
def test_an_address_that_is_none_is_one_line(url: str) -> None:
    with pytest.raises(InvalidConfig):
        Database(url)


def test_a_write_that_fails_half_way_leaves_nothing(tables: Tables) -> None:
    with pytest.raises(KeyError), tables.database.write() as connection:
        connection.execute(dead_letters.insert().values(received_at=1.0, topic="t", reason="r", payload=b"\x00"))
        raise KeyError
    assert tables.summaries.dead_letter_count() == 0


def test_a_database_that_another_program_holds_is_an_error_that_passes(tmp_path: Path) -> None:
    tables = open_tables(tmp_path / "cloud.db")
    other = open_tables(tmp_path / "cloud.db")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with other.database.write():
            held.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(60)
    try:
        with tables.database.read() as connection:  # reading goes on meanwhile
            assert connection.exec_driver_sql("SELECT count(*) FROM stations").scalar() == 0
            connection.exec_driver_sql("PRAGMA busy_timeout=50")
        with pytest.raises(TransientError), tables.database.write():
            pass
    finally:
        done.set()
        holder.join()
        other.database.close()
        tables.database.close()
