"""Ends this process as a power cut would, at a named step between produce and delete.

A step of the database is met where the statements pass by: a connection of our own class is what `sqlite3.connect` makes in the
child, so that nothing of the product has to know. Points are `STEP` or `STEP:N`, the Nth time it is met.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterable
from typing import Any

# What a transaction is about, by the first statement that says so. Merging deletes outbox rows too, on the recorder's thread.
_KINDS = (
    ("add", re.compile(r"INSERT\s+(OR\s+\w+\s+)?INTO\s+outbox\b", re.IGNORECASE)),
    ("mark", re.compile(r"UPDATE\s+outbox\s+SET\s+sent\b", re.IGNORECASE)),
    ("delete", re.compile(r"DELETE\s+FROM\s+outbox\b", re.IGNORECASE)),
)
STATION_POINTS = (
    *(f"{when}-{kind}" for kind, _ in _KINDS for when in ("before", "in", "before-commit-of", "after-commit-of")),
    "published",
    "puback",
    "ack",
)
"""`in`: its first statement is done and not committed. `published`: handed to the socket, no PUBACK yet. `puback`: that came, no
dn/ack was looked at. `ack`: a dn/ack was taken and nothing of it done."""


class KillPlan:
    """Where to die, or to stand still with SIGSTOP; "" is nowhere."""

    def __init__(
        self, point: str, known: Iterable[str] = STATION_POINTS, *, by: signal.Signals = signal.SIGKILL
    ) -> None:
        self._step, _, times = point.partition(":")
        if self._step and self._step not in known:
            raise SystemExit(f"no such point: {self._step}")
        self._left = int(times or "1")
        self._by = by
        self._lock = threading.Lock()

    def at(self, step: str) -> None:
        """Do it if this is the step, and the time."""
        if step != self._step:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), self._by)
                if self._by is signal.SIGKILL:
                    threading.Event().wait()  # the signal is on its way: nothing more may happen


def watch_database(plan: KillPlan) -> None:
    """Make every connection of this process from now on tell `plan` of its steps."""
    real: Callable[..., sqlite3.Connection] = sqlite3.connect

    class Watched(sqlite3.Connection):
        """Says what a transaction is about as its statements pass by."""

        kind = ""

        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            return self._watched(sql, lambda: super(Watched, self).execute(sql, *arguments))

        def executemany(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            return self._watched(sql, lambda: super(Watched, self).executemany(sql, *arguments))

        def _watched(self, sql: str, do: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
            kind = next((name for name, pattern in _KINDS if pattern.match(sql.lstrip())), "")
            if kind == "delete" and threading.current_thread().name == "recorder":
                kind = ""
            ends = sql.strip().upper().startswith("COMMIT")
            if kind:
                plan.at(f"before-{kind}")
            elif ends and self.kind:
                plan.at(f"before-commit-of-{self.kind}")
            cursor = do()
            if kind:
                self.kind = kind
                plan.at(f"in-{kind}")
            elif ends and self.kind:
                kind, self.kind = self.kind, ""
                plan.at(f"after-commit-of-{kind}")
            elif sql.strip().upper().startswith(("BEGIN", "ROLLBACK")):
                self.kind = ""
            return cursor

    def connect(*arguments: Any, **named: Any) -> sqlite3.Connection:
        return real(*arguments, **{"factory": Watched, **named})

    sqlite3.connect = connect  # type: ignore[assignment]
