"""What one station told over time: its windows, its gaps and sequences, and everything that was done about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Column, ColumnElement, String, Text, and_, cast, func, literal, null, select, union_all

from cloud.store.certificate_tables import certificates
from cloud.store.certificates import CertificateRow
from cloud.store.database import Database
from cloud.store.summary_tables import boots, gaps, summaries
from cloud.store.tables import alarms, audit, commands, retrains, rollout_stations, rollouts

MOST_WINDOWS = 2_000
# Of the audit log only so many newest entries are looked through for one station's.
_NEWEST_ACTS = 200_000


@dataclass(frozen=True, slots=True)
class StoredWindow:
    """A stored summary: `payload` as it was sent. `windows` is how many it stands for; it is filed under `at`."""

    at: float
    camera: str
    bundle: str
    windows: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class BootSequences:
    """How far one boot of a station has come. `missing` are ranges [first, last] that never came and nothing covers."""

    boot: str
    watermark: int
    highest: int
    missing: tuple[tuple[int, int], ...]
    highest_at: float


@dataclass(frozen=True, slots=True)
class GapRow:
    """Sketches that a station gave up for good. Times by its own clock, `received_at` by the cloud's."""

    camera: str
    started_at: float
    ended_at: float
    windows: int
    why: str
    verified: bool
    received_at: float


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """Something that happened to a station. `kind`: alarm, rollout, retrain, command, gap, or act (of the audit log)."""

    at: float
    kind: str
    what: str
    ended_at: float | None = None
    detail: str = ""


class StationHistory:
    """Reads; each call names one station and is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def windows(self, station: str, since: float, limit: int = MOST_WINDOWS) -> list[StoredWindow]:
        """Return the newest `limit` windows filed from `since` on, oldest first."""
        c = summaries.c
        # Level by level: so the index over (level, filed_at, station) is all that is read of other stations.
        levels = [
            select(c.filed_at, c.camera, c.bundle, c.windows, c.payload, c.id)
            .where(c.level == level, c.filed_at >= since, c.station == station)
            .order_by(c.filed_at.desc(), c.id.desc())
            .limit(limit)
            for level in (0, 1, 2)
        ]
        with self._database.read() as connection:
            rows = [row for query in levels for row in connection.execute(query)]
        rows.sort(key=lambda row: (row.filed_at, row.id))
        return [
            StoredWindow(row.filed_at, row.camera, row.bundle, row.windows, bytes(row.payload)) for row in rows[-limit:]
        ]

    def boots(self, station: str) -> list[BootSequences]:
        """Return the station's boots, the newest first."""
        c = boots.c
        query = select(c.boot, c.watermark, c.highest, c.missing, c.highest_at).where(c.station == station)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(c.highest_at.desc(), c.boot)).all()
        return [
            BootSequences(
                row.boot,
                row.watermark,
                row.highest,
                tuple((int(first), int(last)) for first, last in msgspec.json.decode(row.missing)),
                row.highest_at,
            )
            for row in rows
        ]

    def gaps(self, station: str, limit: int = 50) -> list[GapRow]:
        """Return what it gave up for good, the newest first."""
        c = gaps.c
        query = select(c.camera, c.started_at, c.ended_at, c.windows, c.why, c.verified, c.received_at)
        query = query.where(c.station == station).order_by(c.received_at.desc(), c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [GapRow(**row._mapping) for row in connection.execute(query)]

    def certificates(self, station: str) -> list[CertificateRow]:
        """Return its certificates, the newest first."""
        c = certificates.c
        query = select(certificates).where(c.kind == "station", c.subject == station).order_by(c.issued_at.desc())
        with self._database.read() as connection:
            return [CertificateRow(**row._mapping) for row in connection.execute(query)]

    def timeline(self, station: str, start: int = 0, limit: int = 50) -> tuple[Sequence[TimelineEntry], int]:
        """Return (entries, how many in all), the newest first: alarms, rollouts, retrains, commands, gaps, and what people did."""
        text = Text()
        # Every act that is about one station begins with its name.
        of_station = and_(
            audit.c.detail.startswith(f"{station}:", autoescape=True)
            | audit.c.detail.startswith(f"{station}/", autoescape=True)
            | (audit.c.detail == station)
            | (audit.c.actor == station),
            # Those are rows of their own here.
            audit.c.act.not_in(("drift alarm", "alarm closed", "retrain")),
            audit.c.id > select(func.coalesce(func.max(audit.c.id), 0)).scalar_subquery() - _NEWEST_ACTS,
        )
        joined = rollout_stations.join(rollouts, rollouts.c.id == rollout_stations.c.rollout)
        parts = [
            select(
                alarms.c.opened_at.label("at"), literal("alarm").label("kind"),
                cast(alarms.c.sentence, text).label("what"), alarms.c.closed_at.label("ended_at"),
                cast(alarms.c.closed_why, text).label("detail"),
            ).where(_of_cameras(alarms.c.station, station)),
            select(
                func.coalesce(rollout_stations.c.ordered_at, rollouts.c.created_at), literal("rollout"),
                cast(rollouts.c.version + literal(": ", String) + func.lower(rollout_stations.c.state), text),
                rollout_stations.c.ended_at, cast(rollout_stations.c.reason, text),
            ).select_from(joined).where(rollout_stations.c.station == station),
            select(
                retrains.c.started_at, literal("retrain"), cast(retrains.c.state, text), retrains.c.ended_at,
                cast(retrains.c.reason, text),
            ).where(_of_cameras(retrains.c.station, station)),
            select(
                commands.c.sent_at, literal("command"), cast(commands.c.name, text), null(), cast(commands.c.detail, text)
            ).where(commands.c.station == station),
            select(
                gaps.c.received_at, literal("gap"), cast(gaps.c.why, text), gaps.c.ended_at,
                cast(gaps.c.windows, text),
            ).where(gaps.c.station == station),
            select(
                audit.c.at, literal("act"), cast(audit.c.act + literal(" by ", String) + audit.c.actor, text), null(),
                cast(audit.c.detail, text),
            ).where(of_station),
        ]  # fmt: skip
        every = union_all(*parts).subquery()
        query = select(every).order_by(every.c.at.desc(), every.c.kind, every.c.what).offset(start).limit(limit)
        with self._database.read() as connection:
            total = connection.execute(select(func.count()).select_from(every)).scalar_one()
            found = [TimelineEntry(r.at, r.kind, r.what, r.ended_at, r.detail) for r in connection.execute(query)]
        return found, int(total)


def _of_cameras(series: Column[str], station: str) -> ColumnElement[bool]:
    """Return what is true of the series of any of a station's cameras (`cloud.ports.series`)."""
    return (series == station) | series.startswith(f"{station}/", autoescape=True)
