"""Small durable facts: the enrolled reference, answered commands, the last acknowledgement."""

from __future__ import annotations

import sqlite3
import threading


class SqliteMemory:
    """Facts in the `memory` table."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def get(self, name: str) -> str | None:
        """Return the fact, or None."""
        with self._lock:
            row = self._connection.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, name: str, value: str) -> None:
        """Store the fact durably; None of the others change."""
        with self._lock:
            self._connection.execute(
                "INSERT INTO memory VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, value),
            )
