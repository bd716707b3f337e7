"""Messages that could not be stored, kept whole for a person to look at and to try again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select

from cloud.store.database import Database
from cloud.store.summary_tables import dead_letters
from contract.errors import NotFound

# Ids in one statement; SQLite takes 999 parameters at least.
_PORTION = 500


@dataclass(frozen=True, slots=True)
class DeadEntry:
    """A dead letter without its payload of `size` bytes."""

    id: int
    received_at: float
    topic: str
    reason: str
    size: int


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A dead letter, whole."""

    entry: DeadEntry
    payload: bytes


class DeadLetters:
    """The dead_letters table, as the command sees it; the ingest loop fills it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self, limit: int) -> list[DeadEntry]:
        """Return up to `limit` letters, newest first."""
        c = dead_letters.c
        query = select(c.id, c.received_at, c.topic, c.reason, func.length(c.payload)).order_by(c.id.desc())
        with self._database.read() as connection:
            return [DeadEntry(*row) for row in connection.execute(query.limit(limit))]

    def count(self) -> int:
        """Return how many there are."""
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(dead_letters)).scalar_one())

    def ids(self) -> list[int]:
        """Return every id, oldest first."""
        with self._database.read() as connection:
            return list(connection.execute(select(dead_letters.c.id).order_by(dead_letters.c.id)).scalars())

    def get(self, letter: int) -> DeadMessage:
        """Return one.

        Raises:
            NotFound: there is none of this id.
        """
        with self._database.read() as connection:
            row = connection.execute(select(dead_letters).where(dead_letters.c.id == letter)).one_or_none()
        if row is None:
            raise NotFound(f"there is no dead letter {letter}", hint="see: plumbline-cloud dead list")
        payload = bytes(row.payload)
        return DeadMessage(DeadEntry(row.id, row.received_at, row.topic, row.reason, len(payload)), payload)

    def remove(self, letters: Sequence[int]) -> int:
        """Remove some, all or none, and return how many there were.

        Raises:
            TransientError: the database did not take it; all are still there.
        """
        removed = 0
        with self._database.write() as connection:
            for start in range(0, len(letters), _PORTION):
                some = letters[start : start + _PORTION]
                removed += connection.execute(delete(dead_letters).where(dead_letters.c.id.in_(some))).rowcount
        return removed
