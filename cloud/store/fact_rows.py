"""Rows that tell what needs a person, each read in one statement whatever the size of the fleet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, func, select

from cloud.store.audit import AuditLog
from cloud.store.certificate_tables import certificates
from cloud.store.database import Database
from cloud.store.operate_tables import approvals, notices
from cloud.store.summary_tables import boots, gaps
from cloud.store.tables import audit, rollout_stations, station_status

# An abort of the last day is among them, unless a plant is at war with itself.
_NEWEST_ACTS = 5_000


@dataclass(frozen=True, slots=True)
class EndingCertificate:
    """The newest certificate of a subject that counts; it ends at `not_after`, Unix seconds."""

    kind: str
    subject: str
    not_after: float


class FactRows:
    """Reads, and changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._audit = AuditLog(database)

    def newest_window_ends(self) -> Mapping[str, float]:
        """Return when the newest window of each station's boot ended, by the station's own clock."""
        same = and_(boots.c.station == station_status.c.station, boots.c.boot == station_status.c.boot)
        query = select(boots.c.station, boots.c.highest_at).select_from(boots.join(station_status, same))
        with self._database.read() as connection:
            return {row.station: row.highest_at for row in connection.execute(query.where(boots.c.highest_at > 0))}

    def gaps_since(self, since: float) -> Mapping[str, int]:
        """Return how often each station said from `since` on that it lost data for good."""
        query = select(gaps.c.station, func.count()).where(gaps.c.received_at >= since).group_by(gaps.c.station)
        with self._database.read() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query)}

    def member_counts(self, rollouts: Sequence[int]) -> Mapping[int, Mapping[tuple[int, str], int]]:
        """Return how many stations of each rollout are in each (wave, state)."""
        c, found = rollout_stations.c, defaultdict[int, dict[tuple[int, str], int]](dict)
        query = select(c.rollout, c.wave, c.state, func.count()).where(c.rollout.in_(list(rollouts)))
        with self._database.read() as connection:
            for rollout, wave, state, number in connection.execute(query.group_by(c.rollout, c.wave, c.state)):
                found[rollout][wave, state] = int(number)
        return found

    def approved(self, rollouts: Sequence[int]) -> Mapping[int, int]:
        """Return how many people approve each rollout: the newest word of each counts."""
        newest = select(func.max(approvals.c.id)).where(approvals.c.rollout.in_(list(rollouts)))
        newest = newest.group_by(approvals.c.rollout, approvals.c.person)
        query = select(approvals.c.rollout, func.count()).where(approvals.c.id.in_(newest), approvals.c.approved)
        with self._database.read() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query.group_by(approvals.c.rollout))}

    def stopped_by_people(self) -> frozenset[int]:
        """Return the rollouts that a person stopped of late, by what the audit log says of who did it."""
        with self._database.read() as connection:
            newest = connection.execute(select(func.max(audit.c.id))).scalar() or 0
            wanted = (audit.c.id > newest - _NEWEST_ACTS, audit.c.act == "abort", audit.c.actor != "plumbline")
            details = connection.execute(select(audit.c.detail).where(*wanted)).scalars().all()
        words = [detail.split() for detail in details]
        return frozenset(int(each[1]) for each in words if len(each) > 1 and each[0] == "rollout" and each[1].isdigit())

    def ending_certificates(self, station_before: float, other_before: float) -> list[EndingCertificate]:
        """Return whose newest certificate ends before a moment: stations' renew themselves, so theirs is judged by another."""
        c, latest = certificates.c, func.max(certificates.c.not_after)
        query = select(c.kind, c.subject, latest).where(c.revoked_at.is_(None)).group_by(c.kind, c.subject)
        query = query.having(latest < max(station_before, other_before))
        with self._database.read() as connection:
            rows = [EndingCertificate(row[0], row[1], float(row[2])) for row in connection.execute(query)]
        return [row for row in rows if row.not_after < (station_before if row.kind == "station" else other_before)]

    def last_need_over(self) -> float:
        """Return when the last thing that needed somebody was over, Unix seconds; 0 where none ever was."""
        wanted = select(func.max(notices.c.closed_at)).where(notices.c.severity != "info")
        with self._database.read() as connection:
            return float(connection.execute(wanted).scalar() or 0.0)

    def first_broken(self) -> int | None:
        """Return the first entry of the audit log that does not follow from the one before. It reads all of it."""
        return self._audit.first_broken()
