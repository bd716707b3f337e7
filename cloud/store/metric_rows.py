"""Sums over the tables for metrics: a few statements, each of one row a group, whatever the size of the fleet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import and_, case, func, select, text

from cloud.store.certificate_tables import certificates
from cloud.store.database import Database
from cloud.store.operate_tables import cost_days, notices, slo_hours
from cloud.store.summary_tables import station_totals
from cloud.store.tables import alarms, labels, retrains, rollouts, station_status, stations

_TOTALS = (
    "summaries",
    "captured",
    "decided",
    "passed",
    "rejected",
    "dropped",
    "undecided",
    "missing",
    "conflicts",
    "gaps",
)


@dataclass(frozen=True, slots=True)
class StationLine:
    """What is told of one station by its name. `heard_at`: Unix seconds, 0 for never."""

    station: str
    site: str
    online: bool
    heard_at: float


class MetricRows:
    """Reads, and changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def stations(self) -> Mapping[tuple[str, bool], int]:
        """Return how many added stations there are by (site, whether they are online)."""
        on = func.coalesce(station_status.c.online, False)
        joined = stations.outerjoin(station_status, stations.c.station == station_status.c.station)
        query = select(stations.c.site, on.label("on"), func.count().label("number")).select_from(joined)
        with self._database.read() as connection:
            rows = connection.execute(query.group_by(stations.c.site, text('"on"'))).all()
        return {(row[0], bool(row[1])): int(row[2]) for row in rows}

    def update_states(self) -> Mapping[str, int]:
        """Return how many stations are in each update state."""
        c = station_status.c
        return self._counts(select(c.update_state, func.count()).where(c.update_state != "").group_by(c.update_state))

    def bundles(self) -> Mapping[str, int]:
        """Return how many stations run each bundle, by its digest."""
        c = station_status.c
        return self._counts(select(c.bundle, func.count()).where(c.bundle != "").group_by(c.bundle))

    def totals(self) -> Mapping[str, int]:
        """Return what all stations have accounted for so far."""
        with self._database.read() as connection:
            row = connection.execute(select(*(func.coalesce(func.sum(station_totals.c[n]), 0) for n in _TOTALS))).one()
        return {name: int(value) for name, value in zip(_TOTALS, row, strict=True)}

    def worst_stations(self, limit: int) -> list[StationLine]:
        """Return up to `limit` stations, those that are offline first, then those not heard for the longest."""
        c = station_status.c
        heard = case((c.summary_at > c.reported_at, c.summary_at), else_=c.reported_at)
        heard = case((c.state_at > heard, c.state_at), else_=heard)
        query = select(stations.c.station, stations.c.site, c.online, heard.label("heard_at"))
        query = query.select_from(stations.join(station_status, stations.c.station == c.station))
        query = query.where(stations.c.token_sha256 != "").order_by(c.online, text("heard_at"), stations.c.station)
        with self._database.read() as connection:
            rows = connection.execute(query.limit(limit)).all()
        return [StationLine(row[0], row[1], bool(row[2]), float(row[3])) for row in rows]

    def alarms(self) -> Mapping[tuple[str, bool], int]:
        """Return how many drift alarms there were by (cause, whether they are open).

        That of a station whose access was taken away is not: nothing more comes of it that could end the alarm, and there is nobody
        to answer it. It counts again should the station be enrolled again.
        """
        retired = select(stations.c.station).where(stations.c.token_sha256 == "")
        is_open = and_(alarms.c.closed_at.is_(None), alarms.c.station.not_in(retired)).label("is_open")
        query = select(alarms.c.cause, is_open, func.count()).group_by(alarms.c.cause, text("is_open"))
        with self._database.read() as connection:
            return {(row[0], bool(row[1])): int(row[2]) for row in connection.execute(query)}

    def retrains(self) -> Mapping[str, int]:
        """Return how many retrains are in each state."""
        return self._counts(select(retrains.c.state, func.count()).group_by(retrains.c.state))

    def rollouts(self) -> Mapping[str, int]:
        """Return how many rollouts are in each state."""
        return self._counts(select(rollouts.c.state, func.count()).group_by(rollouts.c.state))

    def labels(self) -> Mapping[str, int]:
        """Return how many acts of people about parts there were, by kind."""
        return self._counts(select(labels.c.kind, func.count()).group_by(labels.c.kind))

    def notices(self) -> Mapping[str, int]:
        """Return how many notices are open, by severity."""
        c = notices.c
        return self._counts(select(c.severity, func.count()).where(c.closed_at.is_(None)).group_by(c.severity))

    def promises(self) -> Mapping[str, tuple[int, int]]:
        """Return (good events, all events) of each promise, over all hours that are kept."""
        c = slo_hours.c
        query = select(c.promise, func.sum(c.good), func.sum(c.total)).group_by(c.promise)
        with self._database.read() as connection:
            return {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(query)}

    def costs(self) -> Mapping[str, float]:
        """Return what all stations cost over all days that are kept, by kind."""
        query = select(cost_days.c.kind, func.sum(cost_days.c.amount)).group_by(cost_days.c.kind)
        with self._database.read() as connection:
            return {row[0]: float(row[1]) for row in connection.execute(query)}

    def certificates(self) -> Mapping[str, float]:
        """Return when the first of the newest certificates of each kind ends, Unix seconds."""
        c = certificates.c
        newest = select(c.kind, c.subject, func.max(c.not_after)).where(c.revoked_at.is_(None))
        found: dict[str, float] = defaultdict(lambda: float("inf"))
        with self._database.read() as connection:
            for kind, _, not_after in connection.execute(newest.group_by(c.kind, c.subject)):
                found[kind] = min(found[kind], float(not_after))
        return found

    def database_bytes(self) -> int:
        """Return the size of the database."""
        with self._database.read() as connection:
            if self._database.is_postgresql:
                return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
            pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar() or 0)
            return pages * int(connection.exec_driver_sql("PRAGMA page_size").scalar() or 0)

    def _counts(self, query: object) -> Mapping[str, int]:
        with self._database.read() as connection:
            return {str(row[0]): int(row[1]) for row in connection.execute(query)}  # type: ignore[call-overload]
