"""What the cloud remembers of each series' answers, as bytes."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select

from cloud.store.database import Database
from cloud.store.tables import answer_state


class AnswerStates:
    """The answer_state table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> dict[str, bytes]:
        """Return every series' state."""
        with self._database.read() as connection:
            return {row.series: row.state for row in connection.execute(select(answer_state))}

    def save(self, states: Mapping[str, bytes]) -> None:
        """Store the states of some series, in one transaction."""
        with self._database.write() as connection:
            for series, state in states.items():
                values = {"series": series, "state": state}
                connection.execute(self._database.upsert(answer_state, "series", values))
