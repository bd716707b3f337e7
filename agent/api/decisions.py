"""Verdicts read back from the station's database, over connections of their own that can only read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

from agent.ports.clock import Clock
from contract.errors import DeadlinePassed, TransientError

MAX_ROWS = 500
_STEPS_BETWEEN_LOOKS = 10_000
_OPINION = "state, sample, queued_at, tries, verdict, label, confidence, good, agreed, model, ended_at, gone, detail"


class Decisions:
    """The `results` table. `connect` opens a connection that can only read: one a question, so that a file which was
    replaced is never read in its old form. A question takes at most `within_s`.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], clock: Clock, *, within_s: float = 2.0) -> None:
        self._connect = connect
        self._clock = clock
        self._within_s = within_s

    def find(self, row_id: int) -> dict[str, Any] | None:
        """Return the row of one decision as column -> value, or None: never made, or forgotten since.

        Raises:
            DeadlinePassed: it took too long.
            TransientError: the database cannot be read now.
        """
        rows = self._ask("SELECT * FROM results WHERE id = ?", (row_id,))
        return rows[0] if rows else None

    def opinion_of(self, row_id: int) -> dict[str, Any] | None:
        """Return the second opinion on one decision that came, or is to come, after it; None when none was asked for.

        Raises: as `find`.
        """
        rows = self._ask(f"SELECT {_OPINION} FROM second_opinions WHERE result = ?", (row_id,))
        if not rows:
            return None
        row = rows[0]
        shown = ["state", "sample", "queued_at", "tries"]
        if row["state"] == "answered":
            shown += ["verdict", "label", "confidence", "good", "agreed", "model", "ended_at"]
        elif row["state"] == "gone":
            shown += ["gone", "detail"]
        return {name: row[name] for name in shown}

    def of_part(self, part: str | None, limit: int) -> list[dict[str, Any]]:
        """Return at most `limit` decisions, newest first: those of `part`, or of any for None.

        Raises: as `find`.
        """
        limit = max(1, min(limit, MAX_ROWS))
        if part is None:
            return self._ask("SELECT * FROM results ORDER BY id DESC LIMIT ?", (limit,))
        return self._ask("SELECT * FROM results WHERE part = ? ORDER BY id DESC LIMIT ?", (part, limit))

    def _ask(self, question: str, values: tuple[object, ...]) -> list[dict[str, Any]]:
        until_s = self._clock.monotonic() + self._within_s
        try:
            with closing(self._connect()) as connection:
                # A part that is not there is looked for in every row kept: bounded here, whatever the disk's speed.
                connection.set_progress_handler(lambda: self._clock.monotonic() > until_s, _STEPS_BETWEEN_LOOKS)
                cursor = connection.execute(question, values)
                names = [column[0] for column in cursor.description]
                return [_typed(dict(zip(names, row, strict=True))) for row in cursor]
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise DeadlinePassed(
                    f"the decisions could not be searched within {self._within_s:g} s", hint="ask for an id instead"
                ) from error
            raise TransientError(f"the decisions cannot be read: {error}", hint="check the disk") from error
        except sqlite3.Error as error:
            raise TransientError(f"the decisions cannot be read: {error}", hint="check the disk") from error


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    # The only camera of a station needs no name.
    row = {name: value for name, value in row.items() if name != "camera" or value}
    # SQLite knows no truth values.
    return row | {name: bool(row[name]) for name in ("asked_cloud", "cloud_answer", "agreed") if name in row}
