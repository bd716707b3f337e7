"""The rows that tell how a version came about."""

from __future__ import annotations

from sqlalchemy import select

from cloud.store.audit import AuditEntry
from cloud.store.database import Database
from cloud.store.tables import audit, samples

_RELEASE_ACTS = ("release", "stage")

OVERRIDDEN = ", gate overridden: "
"""What the act of releasing says before the reason for which a gate was overridden."""


def release_acts(database: Database, version: str) -> list[AuditEntry]:
    """Return the audit entries of a person's releasing `version`, oldest first; none for what a retrain released."""
    # "stage" is also said of a version's place in the table of stages, by whoever changes it.
    whose = audit.c.detail.startswith(f"{version}: bundle ", autoescape=True)
    query = select(audit).where(audit.c.act.in_(_RELEASE_ACTS), whose).order_by(audit.c.id)
    with database.read() as connection:
        return [AuditEntry(**row._mapping) for row in connection.execute(query)]


def kept_frame(database: Database, station: str, captured_at: float, part: str) -> str:
    """Return the sample that a station's decision was kept as, "" where it was not. `station`: "" where that is not known."""
    whose = (samples.c.captured_at == captured_at, samples.c.part == part)
    query = select(samples.c.sample).where(*whose, *([samples.c.station == station] if station else []))
    with database.read() as connection:
        found = connection.execute(query.limit(2)).scalars().all()
    return found[0] if len(found) == 1 else ""
