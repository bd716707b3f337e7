"""A SQLite database with this version's tables, made once a process: to copy it takes a tenth of the time of making them."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path


def write_tables(file: Path) -> None:
    """Write a database with this version's tables and nothing in them, as `Database` makes it, to a file that is not there yet."""
    with file.open("xb") as new:
        new.write(_made())


@functools.cache
def _made() -> bytes:
    from cloud.store.database import Database  # the tests of the agent do without

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "made.db"
        Database(f"sqlite:///{file}").close()
        return file.read_bytes()
