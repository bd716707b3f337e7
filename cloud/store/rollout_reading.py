"""Rollouts as people look at them: a page at a time, and counted where there are too many stations to list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, case, func, or_, select

from cloud.ports.rollouts import Rollout, RolloutMember
from cloud.rollout.rollout_states import LIVE, MemberState
from cloud.rollout.waves_shown import Counted
from cloud.store.database import Database
from cloud.store.rollout_rows import rollout_of
from cloud.store.tables import audit, rollout_stations, rollouts, station_status
from contract.errors import NotFound

_MEMBER = tuple(rollout_stations.c)
_SORTS = {
    "station": (rollout_stations.c.station,),
    "wave": (rollout_stations.c.wave, rollout_stations.c.station),
    "state": (rollout_stations.c.state, rollout_stations.c.station),
    "ordered": (rollout_stations.c.ordered_at, rollout_stations.c.station),
}


@dataclass(frozen=True, slots=True)
class SeenMember:
    """A station of a rollout, whether it is online, and what it last said of its order there, "" for nothing.

    `by_http`: it is not online, and asks for its orders over HTTP.
    """

    member: RolloutMember
    online: bool
    said: str
    by_http: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which stations of a rollout: in one of `states`, of a `wave`, whose name holds `text`; none of these: all."""

    states: tuple[MemberState, ...] = ()
    wave: int | None = None
    text: str = ""
    sort: str = "wave"
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """An entry of the audit log about a rollout."""

    at: float
    actor: str
    act: str
    detail: str


class RolloutReading:
    """Reads the rollouts and rollout_stations tables, and what stations say of themselves. Changes nothing.

    `by_http` says who was heard over HTTP of late (`cloud.heard_by_http`).
    """

    def __init__(self, database: Database, by_http: Callable[[], frozenset[str]] = frozenset) -> None:
        self._database, self._by_http = database, by_http

    def newest(self, limit: int, before: int | None = None) -> list[Rollout]:
        """Return up to `limit` rollouts, newest first; only ids below `before`."""
        query = select(rollouts).order_by(rollouts.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(rollouts.c.id < before)
        with self._database.read() as connection:
            return [rollout_of(row._mapping) for row in connection.execute(query)]

    def under_way(self) -> Rollout | None:
        """Return the rollout that is not over, of which there is one at most."""
        query = select(rollouts).where(rollouts.c.state.in_([state.value for state in LIVE]))
        with self._database.read() as connection:
            row = connection.execute(query.order_by(rollouts.c.id.desc()).limit(1)).first()
        return None if row is None else rollout_of(row._mapping)

    def one(self, rollout: int) -> Rollout:
        """Return one rollout.

        Raises:
            NotFound: no such rollout.
        """
        with self._database.read() as connection:
            row = connection.execute(select(rollouts).where(rollouts.c.id == rollout)).first()
        if row is None:
            raise NotFound(f"no rollout {rollout}", hint="list them with: plumbline-cloud rollout list")
        return rollout_of(row._mapping)

    def counts(self, wanted: Sequence[int]) -> dict[int, list[Counted]]:
        """Return of each rollout how many stations of which wave are in which state, by wave."""
        table, status = rollout_stations, station_status
        asks = self._database.among(table.c.station, self._by_http())
        away = func.sum(case((or_(status.c.online.is_(True), asks), 0), else_=1))
        keys = (table.c.rollout, table.c.wave, table.c.state)
        query = select(*keys, func.count(), away).outerjoin(status, status.c.station == table.c.station)
        query = query.where(table.c.rollout.in_(wanted)).group_by(*keys).order_by(*keys)
        found: dict[int, list[Counted]] = {each: [] for each in wanted}
        with self._database.read() as connection:
            for rollout, wave, state, stations, offline in connection.execute(query):
                found[rollout].append(Counted(wave, MemberState(state), stations, int(offline)))
        return found

    def stations(self, rollout: int, wanted: Wanted, start: int, limit: int) -> tuple[list[SeenMember], int]:
        """Return up to `limit` stations of a rollout from number `start` on, and how many there are of the `wanted`."""
        table, status = rollout_stations, station_status
        where = self._where(rollout, wanted)
        order = [column.desc() if wanted.descending else column.asc() for column in _SORTS[wanted.sort]]
        query = select(*_MEMBER, status.c.online, status.c.deployment.label("spoken_of"), status.c.reason.label("said"))
        query = query.outerjoin(status, status.c.station == table.c.station).where(*where).order_by(*order)
        count = select(func.count()).select_from(table).where(*where)
        with self._database.read() as connection:
            rows = connection.execute(query.offset(start).limit(limit)).all()
            total = connection.execute(count).scalar_one()
        found, by_http = list[SeenMember](), self._by_http()
        for row in rows:
            values = dict(row._mapping)
            online, spoken_of, said = (values.pop(name) for name in ("online", "spoken_of", "said"))
            member = RolloutMember(**{**values, "state": MemberState(values["state"])})
            of_this = said or "" if spoken_of == member.deployment else ""
            found.append(SeenMember(member, bool(online), of_this, not online and member.station in by_http))
        return found, total

    def timeline(self, rollout: int, limit: int = 200) -> list[Said]:
        """Return what the audit log says of a rollout as a whole, newest first."""
        query = select(audit.c.at, audit.c.actor, audit.c.act, audit.c.detail)
        query = query.where(audit.c.detail.startswith(f"rollout {rollout} ", autoescape=True))
        with self._database.read() as connection:
            found = connection.execute(query.order_by(audit.c.id.desc()).limit(limit))
            return [Said(*row) for row in found]

    def _where(self, rollout: int, wanted: Wanted) -> list[ColumnElement[bool]]:
        table = rollout_stations
        where: list[ColumnElement[bool]] = [table.c.rollout == rollout]
        if wanted.states:
            where.append(table.c.state.in_([state.value for state in wanted.states]))
        if wanted.wave is not None:
            where.append(table.c.wave == wanted.wave)
        if wanted.text:
            where.append(func.lower(table.c.station).contains(wanted.text.lower(), autoescape=True))
        return where
