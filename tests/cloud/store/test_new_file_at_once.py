"""A new database file that others open at the same moment: SQLite answers all but one of them "locked" without waiting."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cloud.store import database
from cloud.store.database import Database


class Contended(sqlite3.Cursor):
    """A cursor whose first `refusals` requests for the write-ahead log are refused, as a race would."""

    refusals, word, asked = 0, "database is locked", 0

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:  # type: ignore[override]
        if "journal_mode" in sql:
            Contended.asked += 1
            if Contended.asked <= Contended.refusals:
                raise sqlite3.OperationalError(Contended.word)
        return super().execute(sql, *parameters)


@pytest.mark.parametrize(("refusals", "word", "asked"), [(3, "database is locked", 4), (1, "disk I/O error", 1)])
def test_who_is_told_locked_tries_again_and_nothing_else_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int, word: str, asked: int
) -> None:
    monkeypatch.setattr(database, "_WAL_PAUSE_S", 0.0)
    monkeypatch.setattr(Contended, "asked", 0)
    monkeypatch.setattr(Contended, "refusals", refusals)
    monkeypatch.setattr(Contended, "word", word)
    connection = sqlite3.connect(tmp_path / "cloud.db")
    cursor = connection.cursor(Contended)
    if asked > refusals:
        database._use_wal(cursor)
        assert cursor.execute("SELECT 1").fetchone() == (1,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    else:
        with pytest.raises(sqlite3.OperationalError, match=word):
            database._use_wal(cursor)
    connection.close()
    assert Contended.asked == asked


def test_a_file_whose_lock_is_never_let_go_is_an_error_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_WAL_PAUSE_S", 0.0)
    monkeypatch.setattr(Contended, "asked", 0)
    monkeypatch.setattr(Contended, "refusals", 10**9)
    with sqlite3.connect(tmp_path / "cloud.db") as connection, pytest.raises(sqlite3.OperationalError, match="locked"):
        database._use_wal(connection.cursor(Contended))
    connection.close()
    assert Contended.asked == database._WAL_TRIES + 1
    Database(f"sqlite:///{tmp_path / 'cloud.db'}").close()
