"""The fleet a page at a time: filtered, sorted and counted by the database, so that 10,000 stations cost as little as ten."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, not_, or_, select

from cloud.store.database import Database
from cloud.store.fleet_rows import (
    ENDED_UPDATES,
    MOST_ROWS,
    UNDER_WAY,
    DriftPhase,
    FleetCell,
    FleetCounts,
    FleetFacets,
    FleetFilter,
    FleetPage,
    FleetRow,
    LinkState,
    Phases,
    SortBy,
)
from cloud.store.summary_tables import station_totals
from cloud.store.tables import station_status, stations
from contract.update_states import UpdateState

_BY_BROKER = or_(*(func.coalesce(station_status.c[name], 0.0) > 0 for name in ("state_at", "summary_at")))
_EVER = or_(_BY_BROKER, func.coalesce(station_status.c.reported_at, 0.0) > 0)
_FROM = stations.outerjoin(station_status, stations.c.station == station_status.c.station).outerjoin(
    station_totals, stations.c.station == station_totals.c.station
)
_SUMMARY_AT, _REPORTED_AT = (func.coalesce(station_status.c[name], 0.0) for name in ("summary_at", "reported_at"))
_HEARD_AT = case((_SUMMARY_AT > _REPORTED_AT, _SUMMARY_AT), else_=_REPORTED_AT)
# Later than any time: whoever asks over HTTP is heard now.
_ALWAYS = 1e12
_REVIEW = station_totals.c.decided - station_totals.c.passed - station_totals.c.rejected


class FleetPages:
    """Reads the stations, station_status and station_totals tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self,
        chosen: FleetFilter,
        phases: Phases,
        *,
        sort: SortBy = SortBy.NAME,
        descending: bool = False,
        start: int = 0,
        limit: int = 50,
    ) -> FleetPage:
        """Return up to `limit` stations from the one numbered `start` on; one that is past the end is empty."""
        where = self._where(chosen, phases)
        key = self._key(sort, phases)
        order = [key.desc() if descending else key.asc(), stations.c.station.asc()]
        query = (
            self._rows(phases).where(*where).order_by(*order).offset(max(start, 0)).limit(min(max(limit, 1), MOST_ROWS))
        )
        with self._database.read() as connection:
            total = connection.execute(select(func.count()).select_from(_FROM).where(*where)).scalar_one()
            rows = [_row(dict(row._mapping), phases) for row in connection.execute(query)]
        return FleetPage(rows, int(total))

    def one(self, station: str, phases: Phases) -> FleetRow | None:
        """Return a station, None where it was never added."""
        with self._database.read() as connection:
            row = connection.execute(self._rows(phases).where(stations.c.station == station)).first()
        return None if row is None else _row(dict(row._mapping), phases)

    def cells(self, chosen: FleetFilter, phases: Phases) -> list[FleetCell]:
        """Return every station that is meant, by site and name."""
        state = func.coalesce(station_status.c.update_state, "")
        unheard, link = self._unheard(phases).label("unheard"), self._link(phases)
        query = select(stations.c.station, stations.c.site, link.label("link"), state, unheard).select_from(_FROM)
        query = query.where(*self._where(chosen, phases)).order_by(stations.c.site, stations.c.station)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [
            FleetCell(name, site, LinkState(link), phases.of(name, unheard=bool(unheard)), said)
            for name, site, link, said, unheard in rows
        ]

    def counts(self, phases: Phases) -> FleetCounts:
        """Count the whole fleet."""
        updates, link = func.coalesce(station_status.c.update_state, ""), self._link(phases)
        among = self._database.among
        query = select(
            func.count(),
            *(func.sum(case((literal(state.value) == link, 1), else_=0)) for state in LinkState),
            func.sum(case((updates.not_in(ENDED_UPDATES), 1), else_=0)),
            func.sum(case((updates == UpdateState.ROLLED_BACK.value, 1), else_=0)),
            func.sum(case((func.coalesce(station_status.c.simulated, False), 1), else_=0)),
            func.sum(case((among(stations.c.station, phases.alarmed - phases.revoked), 1), else_=0)),
            func.sum(case((among(stations.c.station, phases.quiet - phases.revoked), 1), else_=0)),
            func.sum(case((and_(self._unheard(phases), self._is_unknown(phases)), 1), else_=0)),
            func.sum(case((among(stations.c.station, phases.revoked), 1), else_=0)),
            func.sum(case((and_(literal(LinkState.NEVER.value) == link, not_(self._unheard(phases))), 1), else_=0)),
        ).select_from(_FROM)
        with self._database.read() as connection:
            total, *counted = (int(value or 0) for value in connection.execute(query).one())
        links, (updating, back, simulated, drifting, quiet, unheard, revoked, new) = (
            dict(zip(LinkState, counted, strict=False)),
            counted[len(LinkState) :],
        )
        return FleetCounts(
            total=total,
            online=links[LinkState.ONLINE],
            offline=links[LinkState.OFFLINE],
            never=links[LinkState.NEVER],
            drifting=drifting,
            enrolling=total - drifting - quiet - unheard - revoked,
            updating=updating,
            rolled_back=back,
            simulated=simulated,
            unheard=unheard,
            by_http=links[LinkState.HTTP],
            revoked=revoked,
            http_alone=links[LinkState.HTTP_ALONE],
            new=new,
        )

    def facets(self) -> FleetFacets:
        """Return what there is to filter by, by name."""
        with self._database.read() as connection:

            def counted(value: ColumnElement[Any]) -> dict[str, int]:
                query = select(value, func.count()).select_from(_FROM).group_by(value).order_by(value)
                return {str(row[0]): int(row[1]) for row in connection.execute(query)}

            return FleetFacets(
                sites=counted(stations.c.site),
                boards=counted(func.coalesce(station_status.c.board, literal(""))),
                bundles=counted(func.coalesce(station_status.c.bundle, literal(""))),
                updates=counted(func.coalesce(station_status.c.update_state, literal(""))),
            )

    def simulated(self) -> list[str]:
        """Return the stations that have no camera, by name."""
        query = select(stations.c.station).select_from(_FROM).where(station_status.c.simulated)
        with self._database.read() as connection:
            return list(connection.execute(query.order_by(stations.c.station)).scalars())

    def _where(self, chosen: FleetFilter, phases: Phases) -> list[ColumnElement[bool]]:
        c, among = station_status.c, self._database.among
        found: list[ColumnElement[bool]] = []
        if chosen.text:
            found.append(
                or_(
                    stations.c.station.icontains(chosen.text, autoescape=True),
                    stations.c.site.icontains(chosen.text, autoescape=True),
                )
            )
        if chosen.site is not None:
            found.append(stations.c.site == chosen.site)
        for column, value in ((c.board, chosen.board), (c.bundle, chosen.bundle)):
            if value is not None:
                found.append(func.coalesce(column, "") == value)
        if chosen.link is not None:
            found.append(literal(chosen.link.value) == self._link(phases))
        if chosen.update == UNDER_WAY:
            found.append(func.coalesce(c.update_state, "").not_in(ENDED_UPDATES))
        elif chosen.update is not None:
            found.append(func.coalesce(c.update_state, "") == chosen.update)
        if chosen.simulated is not None:
            found.append(func.coalesce(c.simulated, False) == chosen.simulated)
        if chosen.drift is DriftPhase.ALARMED:
            found.append(among(stations.c.station, phases.alarmed - phases.revoked))
        elif chosen.drift is DriftPhase.QUIET:
            found.append(among(stations.c.station, phases.quiet - phases.revoked))
        elif chosen.drift is DriftPhase.ENROLLING:
            found += [self._is_unknown(phases), not_(self._unheard(phases))]
        elif chosen.drift is DriftPhase.UNHEARD:
            found += [self._is_unknown(phases), self._unheard(phases)]
        elif chosen.drift is DriftPhase.REVOKED:
            found.append(among(stations.c.station, phases.revoked))
        if chosen.among is not None:
            found.append(among(stations.c.station, chosen.among))
        return found

    def _key(self, sort: SortBy, phases: Phases) -> ColumnElement[Any]:
        c, totals = station_status.c, station_totals.c
        if sort is SortBy.DRIFT:
            return self._by_phase(phases)
        keys: dict[SortBy, ColumnElement[Any]] = {
            SortBy.NAME: stations.c.station,
            SortBy.SITE: stations.c.site,
            SortBy.BOARD: func.coalesce(c.board, ""),
            SortBy.LINK: self._link(phases),
            SortBy.MODEL: func.coalesce(c.bundle, ""),
            SortBy.UPDATE: func.coalesce(c.update_state, ""),
            SortBy.FRAMES: func.coalesce(totals.captured, 0),
            SortBy.REJECT: func.coalesce(totals.rejected, 0),
            SortBy.REVIEW: func.coalesce(_REVIEW, 0),
            SortBy.MISSING: func.coalesce(totals.missing, 0),
            SortBy.HEARD: case((self._database.among(stations.c.station, phases.by_http), _ALWAYS), else_=_HEARD_AT),
        }
        return keys[sort]

    def _by_phase(self, phases: Phases) -> ColumnElement[Any]:
        among = self._database.among
        return case(
            (among(stations.c.station, phases.revoked), 4),
            (among(stations.c.station, phases.alarmed), 0),
            (among(stations.c.station, phases.quiet), 3),
            (self._unheard(phases), 2),
            else_=1,
        )

    def _is_unknown(self, phases: Phases) -> ColumnElement[bool]:
        """Return that the detectors know nothing of a station, or not enough yet."""
        return ~self._database.among(stations.c.station, phases.quiet | phases.alarmed | phases.revoked)

    def _link(self, phases: Phases) -> ColumnElement[str]:
        among = self._database.among
        asks = among(stations.c.station, phases.by_http)
        return case(
            # Whose access was taken away and who is there all the same must be seen to be.
            (func.coalesce(station_status.c.online, False), LinkState.ONLINE.value),
            (among(stations.c.station, phases.revoked), LinkState.REVOKED.value),
            (and_(asks, self._unheard(phases)), LinkState.HTTP_ALONE.value),
            (asks, LinkState.HTTP.value),
            (or_(_EVER, among(stations.c.station, phases.asked)), LinkState.OFFLINE.value),
            else_=LinkState.NEVER.value,
        )

    def _unheard(self, phases: Phases) -> ColumnElement[bool]:
        return and_(not_(_BY_BROKER), stations.c.added_at < phases.unheard_before)

    def _rows(self, phases: Phases) -> Select[Any]:
        c, totals = station_status.c, station_totals.c
        return select(
            stations.c.station,
            stations.c.site,
            func.coalesce(c.board, "").label("board"),
            self._link(phases).label("link"),
            func.coalesce(c.simulated, False).label("simulated"),
            func.coalesce(c.bundle, "").label("bundle"),
            func.coalesce(c.update_state, "").label("update_state"),
            func.coalesce(c.outcome, "").label("outcome"),
            func.coalesce(c.reason, "").label("reason"),
            func.coalesce(c.state_at, 0.0).label("state_at"),
            func.coalesce(c.summary_at, 0.0).label("summary_at"),
            _HEARD_AT.label("heard_at"),
            func.coalesce(c.health, "").label("health"),
            *(func.coalesce(totals[name], 0).label(name) for name in ("captured", "passed", "rejected", "missing")),
            func.coalesce(_REVIEW, 0).label("review"),
            self._unheard(phases).label("unheard"),
        ).select_from(_FROM)


def _row(row: dict[str, Any], phases: Phases) -> FleetRow:
    drift = phases.of(row["station"], unheard=bool(row.pop("unheard")))
    return FleetRow(**{**row, "link": LinkState(row["link"]), "drift": drift})
