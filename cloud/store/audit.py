"""The audit log: who did what, each entry's hash over the one before (DESIGN 7)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select

from cloud.store.database import Database
from cloud.store.tables import audit


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act. `actor` is a person, a token's role, or "plumbline" for what policy did."""

    id: int
    at: float
    actor: str
    act: str
    detail: str
    hash: str


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """What a walk along the chain found: `entries` that follow from each other, the last of them `head_id` with hash `head`.

    `witness`: the head that somebody kept from an earlier walk, "" for none; `witness_id`: the entry that bears it, None where
    none does.
    """

    entries: int
    head_id: int
    head: str
    first_broken: int | None
    witness: str = ""
    witness_id: int | None = None

    @property
    def cut_off(self) -> bool:
        """Whether entries that somebody has seen are gone: the chain alone cannot tell, only who kept its head."""
        return self.first_broken is None and bool(self.witness) and self.witness_id is None

    @property
    def intact(self) -> bool:
        """Whether nothing is known to be changed or gone."""
        return self.first_broken is None and not self.cut_off

    def in_words(self) -> str:
        """Return one sentence."""
        if self.first_broken is not None:
            return f"broken at entry {self.first_broken}: it, or what stood before it, was changed or taken out"
        if self.cut_off:
            return (
                f"cut off, or written anew: no entry bears the head that was kept; the last one now is {self.head_id}"
            )
        return f"chain intact: {self.entries} entr{'y' if self.entries == 1 else 'ies'}"


_WALK = 5_000
"""Entries read at once while the chain is walked."""

# Any number but those of `cloud.store.schema` and `cloud.store.partitions`.
_LOCK = 0x504C_4D44


def write_audit(connection: Connection, at: float, actor: str, act: str, detail: str) -> None:
    """Append an entry inside the transaction of the act itself, so neither exists without the other."""
    if connection.dialect.name == "postgresql":
        # SQLite has one writer at a time; here two would follow the same line, and the chain fork.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    last = connection.execute(select(audit.c.hash).order_by(audit.c.id.desc()).limit(1)).scalar() or ""
    digest = _chain(last, at, actor, act, detail)
    connection.execute(audit.insert().values(at=at, actor=actor, act=act, detail=detail, hash=digest))


class AuditLog:
    """The audit table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, at: float, actor: str, act: str, detail: str) -> None:
        """Append an entry of its own transaction."""
        with self._database.write() as connection:
            write_audit(connection, at, actor, act, detail)

    def entries(
        self,
        limit: int = 1000,
        after: int = 0,
        *,
        before: int | None = None,
        actor: str = "",
        act: str = "",
        text: str = "",
    ) -> list[AuditEntry]:
        """Return the newest `limit` entries with ids above `after` and below `before`, oldest first.

        `act` must be equal; `actor` is looked for in who did it and `text` in the detail, in upper or lower case. "": any.
        """
        query = select(audit).where(audit.c.id > after, *_wanted(actor, act, text))
        if before is not None:
            query = query.where(audit.c.id < before)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(audit.c.id.desc()).limit(limit))
            return [AuditEntry(**row._mapping) for row in found][::-1]

    def acts(self) -> list[str]:
        """Return every kind of act there is."""
        with self._database.read() as connection:
            return list(connection.execute(select(audit.c.act).distinct().order_by(audit.c.act)).scalars())

    def first_broken(self) -> int | None:
        """Return the id of the first entry whose hash does not follow from the one before, or None."""
        return self.check().first_broken

    def check(self, witness: str = "") -> ChainCheck:
        """Walk the chain from its first entry; `witness` is the head that an earlier walk gave.

        What is read at once is bounded, and so is how long a read lasts: entries are only ever added behind.
        """
        last, count, at, seen = "", 0, 0, None
        while True:
            query = select(audit).where(audit.c.id > at).order_by(audit.c.id).limit(_WALK)
            with self._database.read() as connection:
                rows = connection.execute(query).all()
            for row in rows:
                if row.hash != _chain(last, row.at, row.actor, row.act, row.detail):
                    return ChainCheck(count, at, last, int(row.id), witness, seen)
                last, count, at = row.hash, count + 1, int(row.id)
                if last == witness:
                    seen = at
            if len(rows) < _WALK:
                return ChainCheck(count, at, last, None, witness, seen)


def _wanted(actor: str, act: str, text: str) -> list[ColumnElement[bool]]:
    wanted = [audit.c.act == act] if act else []
    for column, words in ((audit.c.actor, actor), (audit.c.detail, text)):
        if words:
            wanted.append(func.lower(column).contains(words.lower(), autoescape=True))
    return wanted


def _chain(last: str, at: float, actor: str, act: str, detail: str) -> str:
    return hashlib.sha256(msgspec.json.encode([last, float(at), actor, act, detail])).hexdigest()
