"""Stations: who may speak, and what each last said of itself."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, Select, select
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from cloud.ports.stations import StationStatus
from cloud.store.database import Database
from cloud.store.tables import station_status, stations
from contract.errors import NotFound
from contract.ids import check_station_id
from contract.messages import HealthNote, ReportedState, StationState


class Heard(NamedTuple):
    """When a station's newest summary came, and how it fares by it (`contract.messages.HealthNote` as JSON; "": unsaid)."""

    at: float
    health: str = ""


class Stations:
    """The stations and station_status tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, station: str, token: str, site: str, now: float) -> None:
        """Let `station` speak with `token`; a known station gets the new token.

        Raises:
            InvalidConfig: the id is none.
        """
        values = {"station": check_station_id(station), "token_sha256": _digest(token), "site": site, "added_at": now}
        with self._database.write() as connection:
            connection.execute(self._database.upsert(stations, "station", values))

    def is_token(self, station: str, token: str) -> bool:
        """Return whether `token` is this station's."""
        with self._database.read() as connection:
            known = connection.execute(select(stations.c.token_sha256).where(stations.c.station == station)).scalar()
        return known is not None and hmac.compare_digest(known, _digest(token))

    def names(self) -> list[str]:
        """Return every station that was added."""
        with self._database.read() as connection:
            return list(connection.execute(select(stations.c.station).order_by(stations.c.station)).scalars())

    def status(self) -> list[StationStatus]:
        """Return every station's status, by name."""
        with self._database.read() as connection:
            return [_status(row) for row in connection.execute(_statuses().order_by(stations.c.station))]

    def retired(self) -> frozenset[str]:
        """Return the stations whose access was taken away."""
        query = select(stations.c.station).where(stations.c.token_sha256 == "")
        with self._database.read() as connection:
            return frozenset(connection.execute(query).scalars())

    def one(self, station: str) -> StationStatus | None:
        """Return a station's status, None where it was never added."""
        with self._database.read() as connection:
            row = connection.execute(_statuses().where(stations.c.station == station)).first()
        return None if row is None else _status(row)

    def strangers(self) -> list[str]:
        """Return who speaks on the broker and was never added, by name."""
        query = select(station_status.c.station).where(station_status.c.station.not_in(select(stations.c.station)))
        with self._database.read() as connection:
            return list(connection.execute(query.order_by(station_status.c.station)).scalars())

    def commit(self, states: Sequence[StationState], reports: Sequence[ReportedState], now: float) -> None:
        """Store births, Wills and reports, in the order they came, at `now` by the cloud's clock."""
        with self._database.write() as connection:
            write_states(self._database, connection, states, reports, now)

    def check_known(self, station: str) -> None:
        """Raise NotFound when `station` was never added."""
        if station not in self.names():
            raise NotFound(f"no station '{station}'", hint="add it with: plumbline-cloud station add NAME")


def write_states(
    database: Database,
    connection: Connection,
    states: Sequence[StationState],
    reports: Sequence[ReportedState],
    now: float,
    heard: Mapping[str, Heard] | None = None,
) -> None:
    """Store births, Wills, reports and what summaries said, in the transaction at hand: a row a station, in order of station.

    Writers that lock rows in one order never wait for each other in a circle.
    """
    changed: dict[str, dict[str, object]] = {}
    for station, (at, health) in (heard or {}).items():
        changed[station] = {"summary_at": at, "health": health} if health else {"summary_at": at}
    for state in states:
        changed.setdefault(state.station, {})
    for report in reports:
        changed.setdefault(report.station, {}).update(_report_values(report, now))
    c = station_status.c
    query = select(c.station, c.boot, c.online).where(database.among(c.station, sorted(changed)))
    rows = connection.execute(query.order_by(c.station).with_for_update()).all() if changed else []
    known = {row.station: (row.boot, row.online) for row in rows}
    there = set(known)
    for state in states:
        before = known.get(state.station)
        # DESIGN 5: a Will of an earlier session must not take a reborn station offline.
        if not state.online and before is not None and before[0] != state.boot:
            continue
        values = changed[state.station]
        values |= {"boot": state.boot, "online": state.online, "simulated": state.simulated}
        # Born again and again without ever going away is not a change: it would hide that the station is stuck.
        if before is None or before[1] != state.online:
            values["state_at"] = now
        if state.agent_version:
            values["agent_version"] = state.agent_version
        if state.board:
            values["board"] = state.board[:40]
        known[state.station] = (state.boot, state.online)
    fresh = [{"station": station, **_BLANK} for station in sorted(set(changed) - there) if changed[station]]
    database.insert_rows(connection, station_status, fresh, ignore_known=True)
    alike: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for station, row in sorted(changed.items()):
        if row:
            alike.setdefault(tuple(sorted(row)), []).append({"station": station, **row})
    for some in alike.values():
        database.update_rows(connection, station_status, "station", some)


def note_summaries(database: Database, connection: Connection, heard: Mapping[str, Heard]) -> None:
    """Note when summaries came and how stations fared, and nothing else, as most batches do: one statement that reads nothing."""
    columns = ("station", "summary_at", "health", *(name for name in _BLANK if name not in ("summary_at", "health")))
    blank = tuple(_BLANK[name] for name in columns[3:])
    rows = [(station, *heard[station], *blank) for station in sorted(heard)]
    # One that does not say how it fares (an older agent, a late backlog) leaves what is known.
    kept = "CASE WHEN excluded.health = '' THEN station_status.health ELSE excluded.health END"
    conflict = f"(station) DO UPDATE SET summary_at = excluded.summary_at, health = {kept}"
    database.insert_values(connection, station_status, columns, rows, conflict)


# What a station is before it said anything.
_BLANK = {
    column.name: column.default.arg
    for column in station_status.c
    if isinstance(column.default, ScalarElementColumnDefault)
}


def _report_values(report: ReportedState, now: float) -> dict[str, object]:
    return {
        "bundle": report.bundle,
        "update_state": report.update_state,
        "deployment": report.deployment,
        "candidate": report.candidate,
        "reason": report.reason,
        "desired_seq": report.desired_seq,
        "reported_at": now,
        "configuration": report.configuration,
        "config_state": report.config_state,
        "config_deployment": report.config_deployment,
        "config_reason": report.config_reason,
        "config_seq": report.config_seq,
        "outcome": report.outcome[:24],
    }


# In the order of `StationStatus`, whose fields are then given by position: loops read ten thousand of them every second.
_STATUS_COLUMNS = [
    (stations if field.name in ("station", "site") else station_status).c[field.name]
    for field in fields(StationStatus)
    if field.name != "asked_at"  # the last one, which the server has in memory alone
]
_HEALTH_AT = [column.name for column in _STATUS_COLUMNS].index("health")
_BOOT_AT = [column.name for column in _STATUS_COLUMNS].index("boot")
_NEVER_HEARD = [None if column.name in ("station", "site") else _BLANK[column.name] for column in _STATUS_COLUMNS]


def _statuses() -> Select[Any]:
    joined = stations.outerjoin(station_status, stations.c.station == station_status.c.station)
    return select(*_STATUS_COLUMNS).select_from(joined)


def _status(row: Row[Any]) -> StationStatus:
    values = list(row)
    if values[_BOOT_AT] is None:
        values = [value if blank is None else blank for value, blank in zip(values, _NEVER_HEARD, strict=True)]
    values[_HEALTH_AT] = msgspec.json.decode(values[_HEALTH_AT], type=HealthNote) if values[_HEALTH_AT] else None
    return StationStatus(*values)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
