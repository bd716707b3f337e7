"""How many summaries wait for their acknowledgement, for a note that is written once a window."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from contract.errors import PlumblineError


class OutboxCount:
    """One thread's, which opens the connection when it first asks."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None

    def __call__(self) -> int:
        """Return how many wait; 0 where the database does not answer just now."""
        try:
            self._connection = self._connection or self._connect()
            (waiting,) = self._connection.execute("SELECT COUNT(*) FROM outbox").fetchone()
        except (sqlite3.Error, PlumblineError):
            return 0
        return int(waiting)
