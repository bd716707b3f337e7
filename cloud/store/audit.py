"""The audit log: who did what, each entry's hash over the one before (DESIGN 7)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, select

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

    def entries(self, limit: int = 1000, after: int = 0) -> list[AuditEntry]:
        """Return the newest `limit` entries with ids above `after`, oldest first."""
        query = select(audit).where(audit.c.id > after).order_by(audit.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [AuditEntry(**row._mapping) for row in connection.execute(query)][::-1]

    def first_broken(self) -> int | None:
        """Return the id of the first entry whose hash does not follow from the one before, or None."""
        last = ""
        with self._database.read() as connection:
            for row in connection.execute(select(audit).order_by(audit.c.id)):
                if row.hash != _chain(last, row.at, row.actor, row.act, row.detail):
                    return int(row.id)
                last = row.hash
        return None


def _chain(last: str, at: float, actor: str, act: str, detail: str) -> str:
    return hashlib.sha256(msgspec.json.encode([last, float(at), actor, act, detail])).hexdigest()
