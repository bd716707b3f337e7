"""A new database file that others open at the same moment."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from cloud.store.database import Database


@pytest.mark.parametrize("held", ["BEGIN EXCLUSIVE", "BEGIN; SELECT * FROM sqlite_master"])
def test_who_finds_it_locked_by_another_waits_until_it_is_let_go(tmp_path: Path, held: str) -> None:
    other = sqlite3.connect(tmp_path / "cloud.db", isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE old (a)")  # a file that is not yet a write-ahead one
    for statement in held.split("; "):
        other.execute(statement).fetchall()
    timer = threading.Timer(1.0, lambda: other.execute("COMMIT"))
    timer.start()
    try:
        Database(f"sqlite:///{tmp_path / 'cloud.db'}").close()
    finally:
        timer.join()
        other.close()
