"""Small durable facts: the enrolled reference, answered commands, the last acknowledgement."""

from __future__ import annotations

import sqlite3
import threading

from agent.store.database import storage_faults


class SqliteMemory:
    """Facts in the `memory` table."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def get(self, name: str) -> str | None:
        """Return the fact, or None.

        Raises:
            TransientError: the disk refused.
        """
        with self._lock, storage_faults(f"reading '{name}'"):
            row = self._connection.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, name: str, value: str) -> None:
        """Store the fact durably.

        Raises:
            TransientError: the disk refused.
        """
        with self._lock, storage_faults(f"storing '{name}'"):
            put_fact(self._connection, name, value)


def fact_of(name: str, camera: str) -> str:
    """Return under which name a fact of one camera is kept: the plain name for the station's only or first camera."""
    return f"{name}:{camera}" if camera else name


def facts_by_camera(connection: sqlite3.Connection, name: str) -> dict[str, str]:
    """Return this fact of every camera that has it."""
    rows = connection.execute("SELECT name, value FROM memory WHERE name = ? OR name GLOB ? || ':*'", (name, name))
    return {str(key)[len(name) + 1 :]: str(value) for key, value in rows}


def put_fact(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Store the fact. The caller holds the transaction, if there is one."""
    connection.execute(
        "INSERT INTO memory VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
    )
