"""The station's one SQLite file: opened, brought to the current schema, and given its boot id."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.store.schema import STEPS, make
from contract.errors import InvalidConfig, NotFound, StorageFull, TransientError

FILE_NAME = "agent.sqlite"
SCHEMA_VERSION = len(STEPS)  # kept in PRAGMA user_version so that a start need not import sqlite-utils


def open_database(path: Path) -> sqlite3.Connection:
    """Return a connection to the database at `path`, made and migrated as needed. One thread at a time may use it.

    Raises:
        StorageFull: the disk has no room.
        InvalidConfig: the file cannot be opened, is no database, or is from a newer agent.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise _explain(error, path) from error
    return connection


def open_read_only(path: Path) -> sqlite3.Connection:
    """Return a connection that can only read, for looking at a station while it runs.

    Raises:
        NotFound: there is no database.
    """
    if not path.is_file():
        raise NotFound(
            f"no station data at '{path}'", hint="start it once with: plumbline-agent run --config agent.toml"
        )
    # On a file system that died and came back read-only no log can be made; without one nothing is missing from the file.
    unchanging = not path.with_name(f"{path.name}-wal").exists() and not os.access(path.parent, os.W_OK)
    address = f"{path.absolute().as_uri()}{'?immutable=1' if unchanging else ''}"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=10.0)
    connection.execute("PRAGMA query_only = 1")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit everything in the block, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def storage_faults(doing: str) -> Iterator[None]:
    """Turn SQLite's errors into one a loop knows how to live with.

    Raises:
        StorageFull: no room.
        TransientError: anything else.
    """
    try:
        yield
    except sqlite3.Error as error:
        if "full" in str(error):
            raise StorageFull(f"no room for {doing}", hint="free disk space") from error
        raise TransientError(f"{doing}: {error}", hint="check the disk") from error


def claim_boot(connection: sqlite3.Connection, path: Path) -> str:
    """Return the boot id of this outbox file, remaking it when the file is a clone or was restored from a backup.

    (boot, seq) names a summary for ever: a copy that went on counting under the same boot would have its summaries
    taken for duplicates. A copy has another inode or machine; a restore in place has an older life than the `.life` file.
    """
    life_path = path.with_suffix(".life")
    machine = _text_of(Path("/etc/machine-id"))
    here = f"{machine}:{path.stat().st_ino}"
    with transaction(connection):
        kept = dict(connection.execute("SELECT name, value FROM memory WHERE name IN ('boot', 'home', 'life')"))
        boot = str(kept.get("boot", ""))
        if not boot or kept.get("home") != here or kept.get("life") != _text_of(life_path):
            boot = secrets.token_hex(8)
            _put(connection, "boot", boot)
            _put(connection, "home", here)
            _put(connection, "next_seq", "1")
            _put(connection, "renewed_from", "")
        # A copy made while nothing ran may hold every row there is now, but none that comes after (`Outbox.renew`).
        newest = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        _put(connection, "claimed_above", str(newest[0] if newest else 0))
        life = secrets.token_hex(8)
        _put(connection, "life", life)
        # Written before the commit: a crash between the two makes a new boot, which is harmless.
        life_path.write_text(life, encoding="ascii")
    return boot


def _put(connection: sqlite3.Connection, name: str, value: str) -> None:
    connection.execute(
        "INSERT INTO memory VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
    )


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA busy_timeout = 10000")
    connection.execute("PRAGMA journal_mode = WAL")
    # P1: a summary that is about to be sent, and a row the cloud has acknowledged, survive a power cut.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 4194304")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise InvalidConfig(
            f"'{path}' is from a newer agent (schema {version})", hint="install that agent, or move the file away"
        )
    if version < SCHEMA_VERSION and not _made(connection):
        from sqlite_utils import Database

        from agent.store.migrations import migrations

        migrations.apply(Database(connection, use_counts_table=False))
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _made(connection: sqlite3.Connection) -> bool:
    """Make the schema in a file that holds nothing; return whether that is what it was."""
    with transaction(connection):
        (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if not tables:
            make(connection)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return not tables


def _explain(error: sqlite3.Error | OSError, path: Path) -> StorageFull | InvalidConfig:
    text = str(error)
    if "full" in text or getattr(error, "errno", None) == 28:
        return StorageFull(f"no room for '{path}'", hint="free disk space")
    hint = "check that the folder exists and may be written"
    if "malformed" in text or "not a database" in text:
        hint = "the file is damaged: move it away; unsent summaries in it are lost"
    return InvalidConfig(f"'{path}' cannot be opened: {text}", hint=hint)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
