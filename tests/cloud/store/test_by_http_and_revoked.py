"""The fleet counted: whoever is heard by HTTP alone is not offline, and a revoked station is no drifting one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import update

from cloud.dashboard.fleet_map import state_of
from cloud.dashboard.fleet_page import headline, row_of
from cloud.dashboard.fleet_source import phases_of
from cloud.facts import Facts
from cloud.heard_by_http import FRESH_S, HeardByHttp
from cloud.needs import needs
from cloud.needs_of_stations import SILENT
from cloud.store.fleet_pages import FleetPages
from cloud.store.fleet_rows import DriftPhase, FleetFilter, LinkState, Phases, SortBy
from cloud.store.tables import stations
from contract.messages import ReportedState, StationState
from tests.fakes.cloud_tables import T0, Tables, open_tables

EVERY = ("alone", "away", "gone", "here", "mute")


@pytest.fixture
def tables(database_url: str) -> Iterator[Tables]:
    """`here` is on the broker and `away` was; `alone` and `gone` have only reported, over HTTP, and `gone` was revoked since."""
    opened = open_tables(database_url)
    for name in EVERY:
        opened.stations.add(name, f"token {name}", "", T0)
    opened.stations.commit([StationState(name, "b", True, T0) for name in ("here", "away")], [], T0)
    opened.stations.commit([StationState("away", "b", False, T0)], [], T0 + 1)
    opened.stations.commit([], [ReportedState(name, "b", T0, "", "IDLE") for name in ("alone", "gone")], T0 + 2)
    with opened.database.write() as connection:
        connection.execute(update(stations).where(stations.c.station == "gone").values(token_sha256=""))
    yield opened
    opened.database.close()


def phases(tables: Tables, now: float, heard: HeardByHttp) -> Phases:
    return phases_of(
        ["away", "gone", "here"], ["gone"], [], now, revoked=tables.stations.retired(), by_http=heard.fresh()
    )


def test_who_asks_over_http_with_its_own_token_is_heard_and_nobody_else(tables: Tables) -> None:
    now = [T0 + 10]
    heard = HeardByHttp(lambda: now[0])
    is_token = heard.noting(tables.stations.is_token)
    assert is_token("alone", "token alone") and is_token("here", "token here")
    assert not is_token("away", "wrong") and not is_token("gone", "token gone") and not is_token("nobody", "x")
    assert heard.all() == {"alone": T0 + 10, "here": T0 + 10} and heard.fresh() == {"alone", "here"}
    pages = FleetPages(tables.database)
    links = {row.station: row.link for row in pages.page(FleetFilter(), phases(tables, now[0], heard)).rows}
    assert links == {
        "alone": LinkState.HTTP, "away": LinkState.OFFLINE, "gone": LinkState.REVOKED, "here": LinkState.ONLINE,
        "mute": LinkState.NEVER,
    }  # fmt: skip
    now[0] += FRESH_S
    assert heard.fresh() == frozenset()
    later = pages.one("alone", phases(tables, now[0], heard))
    assert later is not None and later.link is LinkState.OFFLINE and later.heard_at == T0 + 2
    now[0] = T0 - 10 * FRESH_S  # set back
    assert heard.fresh() == frozenset()


def test_the_numbers_and_the_lists_that_they_lead_to_agree(tables: Tables) -> None:
    heard = HeardByHttp(lambda: T0 + 10)
    heard.noting(tables.stations.is_token)("alone", "token alone")
    found, pages = phases(tables, T0 + 10, heard), FleetPages(tables.database)
    counts = pages.counts(found)
    assert (counts.total, counts.online, counts.by_http, counts.offline, counts.never) == (5, 1, 1, 1, 1)
    assert (counts.drifting, counts.revoked, counts.enrolling, counts.unheard) == (0, 1, 2, 0)
    assert headline(counts, 5) == "1 of 5 stations online, 1 by HTTP, 1 never heard · 0 drifting"
    for link in LinkState:
        rows = pages.page(FleetFilter(link=link), found).rows
        names = {LinkState.HTTP: "by_http", LinkState.HTTP_ALONE: "http_alone", LinkState.NEVER: "never"}
        assert len(rows) == getattr(counts, names.get(link, link.value))
    drift = {phase: [r.station for r in pages.page(FleetFilter(drift=phase), found).rows] for phase in DriftPhase}
    assert drift == {
        DriftPhase.ALARMED: [], DriftPhase.ENROLLING: ["alone", "mute"], DriftPhase.UNHEARD: [],
        DriftPhase.QUIET: ["away", "here"], DriftPhase.REVOKED: ["gone"],
    }  # fmt: skip
    cells = {cell.station: state_of(cell) for cell in pages.cells(FleetFilter(), found)}
    assert cells["gone"] == "revoked" and cells["alone"] == "enrolling" and cells["away"] == "offline"
    for sort in SortBy:
        assert {r.station for r in pages.page(FleetFilter(), found, sort=sort).rows} == set(EVERY)
    newest = pages.page(FleetFilter(), found, sort=SortBy.HEARD, descending=True).rows[0]
    assert newest.station == "alone" and row_of(newest, {}, "", T0)["heard"] == "by HTTP, of late"


def test_a_station_that_asks_over_http_is_not_silent(tables: Tables) -> None:
    now = T0 + 86_400.0

    def silent(by_http: dict[str, float]) -> tuple[str, ...]:
        facts = Facts(now, stations=tables.stations.status(), retired=tables.stations.retired(), heard_by_http=by_http)
        return next((need.members for need in needs(facts) if need.kind == SILENT), ())

    assert silent({}) == ("alone", "away", "here")
    assert silent({"alone": now - 60.0, "away": T0 + 3}) == ("away", "here")


def test_a_revoked_station_is_not_counted_as_offline_but_one_that_is_on_the_broker_all_the_same_is_seen(
    tables: Tables,
) -> None:
    pages, heard = FleetPages(tables.database), HeardByHttp(lambda: T0 + 10)

    def links() -> dict[str, LinkState]:
        found = phases(tables, T0 + 10, heard)
        rows = pages.page(FleetFilter(), found).rows
        counts = pages.counts(found)
        assert counts.offline == sum(row.link is LinkState.OFFLINE for row in rows)
        assert [r.station for r in pages.page(FleetFilter(link=LinkState.OFFLINE), found).rows] == ["alone", "away"]
        return {row.station: row.link for row in rows}

    assert links()["gone"] is LinkState.REVOKED
    tables.stations.commit([StationState("gone", "b", True, T0 + 5)], [], T0 + 5)
    assert links()["gone"] is LinkState.ONLINE
    tables.stations.commit([StationState("gone", "b", False, T0 + 6)], [], T0 + 6)
    assert links()["gone"] is LinkState.REVOKED
