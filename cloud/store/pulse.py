"""Whether the database can be read and written just now: one row that is read and written each time it is asked.

A commit without a change tells nothing: SQLite gives it on a full disk too.
"""

from __future__ import annotations

from sqlalchemy import select

from cloud.store.database import Database
from cloud.store.operate_tables import slo_marks

# Beside the promises' marks; none of them has this name.
MARK = "pulse"


class Pulse:
    """One row of slo_marks, which counts up."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self) -> None:
        """Read the row, write it, and commit that.

        Raises:
            TransientError: the database cannot be read or written now.
        """
        with self._database.write() as connection:
            query = select(slo_marks.c.mark).where(slo_marks.c.promise == MARK)
            before = connection.execute(query).scalar_one_or_none() or 0
            values = {"promise": MARK, "mark": (before + 1) % 2**31}
            connection.execute(self._database.upsert(slo_marks, "promise", values))
