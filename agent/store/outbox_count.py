"""How many summaries wait for their acknowledgement, for a note that is written once a window."""

from __future__ import annotations

import sqlite3


class OutboxCount:
    """Over a connection of its own. One thread's."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __call__(self) -> int:
        """Return how many wait; 0 where the database does not answer just now."""
        try:
            (waiting,) = self._connection.execute("SELECT COUNT(*) FROM outbox").fetchone()
        except sqlite3.Error:
            return 0
        return int(waiting)
