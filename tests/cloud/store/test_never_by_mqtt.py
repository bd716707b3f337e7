"""A station that asks over HTTP and never reaches its broker is "by HTTP" for its first day, and then shown as what it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloud.dashboard.fleet_map import state_of
from cloud.dashboard.fleet_page import LINK_TONES, headline, row_of
from cloud.dashboard.fleet_source import NEW_S, phases_of
from cloud.dashboard.overview_figures import enrolling_in_words
from cloud.facts import Facts
from cloud.heard_by_http import FRESH_S, HeardByHttp
from cloud.needs import needs
from cloud.needs_of_stations import SILENT
from cloud.store.fleet_pages import FleetPages
from cloud.store.fleet_rows import DriftPhase, FleetFilter, FleetRow, LinkState, Phases
from contract.messages import ReportedState, StationState
from tests.fakes.cloud_tables import T0, Tables, open_tables


@pytest.fixture
def tables(database_url: str) -> Iterator[Tables]:
    """All were added at T0. `asks` has only asked for orders, `reports` has reported over HTTP too; `was` was on the broker."""
    opened = open_tables(database_url)
    for name in ("asks", "reports", "was"):
        opened.stations.add(name, f"token {name}", "", T0)
    opened.stations.commit([StationState("was", "b", True, T0)], [], T0)
    opened.stations.commit([StationState("was", "b", False, T0)], [], T0 + 1)
    opened.stations.commit([], [ReportedState("reports", "b", T0, "", "IDLE")], T0 + 2)
    yield opened
    opened.database.close()


class Server:
    """What the pages read, at `now`."""

    def __init__(self, tables: Tables) -> None:
        self.now, self.tables, self.pages = T0, tables, FleetPages(tables.database)
        self.heard = HeardByHttp(lambda: self.now)

    def ask(self, *names: str) -> None:
        is_token = self.heard.noting(self.tables.stations.is_token)
        assert all(is_token(name, f"token {name}") for name in names)

    def phases(self) -> Phases:
        by_http, asked = self.heard.fresh(), frozenset(self.heard.all())
        return phases_of([], [], [], self.now, by_http=by_http, asked=asked)

    def rows(self) -> dict[str, FleetRow]:
        return {row.station: row for row in self.pages.page(FleetFilter(), self.phases()).rows}

    def links(self) -> dict[str, LinkState]:
        return {name: row.link for name, row in self.rows().items()}


def test_after_a_day_it_is_shown_as_never_heard_by_mqtt_and_silent_means_offline(tables: Tables) -> None:
    server = Server(tables)
    server.now = T0 + NEW_S - 1.0
    server.ask("asks", "reports", "was")
    assert set(server.links().values()) == {LinkState.HTTP}, "it is being put up"
    counts = server.pages.counts(server.phases())
    assert (counts.by_http, counts.http_alone, counts.unheard, counts.enrolling) == (3, 0, 0, 3)

    server.now = T0 + NEW_S + 1.0
    rows = server.rows()
    assert server.links() == {
        "asks": LinkState.HTTP_ALONE, "reports": LinkState.HTTP_ALONE, "was": LinkState.HTTP,
    }  # fmt: skip
    # Without summaries nothing is learnt of it, whatever the time.
    assert [rows[name].drift for name in ("asks", "reports", "was")] == [
        DriftPhase.UNHEARD, DriftPhase.UNHEARD, DriftPhase.ENROLLING,
    ]  # fmt: skip
    shown = row_of(rows["asks"], {}, "", server.now)
    assert shown["link"] == ("by HTTP, never by MQTT", LINK_TONES[LinkState.HTTP_ALONE])
    assert shown["heard"] == "by HTTP, of late"
    counts = server.pages.counts(server.phases())
    assert (counts.by_http, counts.http_alone, counts.offline, counts.unheard) == (1, 2, 0, 2)
    assert "0 of 3 stations online, 3 by HTTP (2 of them never by MQTT)" in headline(counts, 3)
    assert enrolling_in_words(counts) == "1 enrolling"
    cells = {cell.station: state_of(cell) for cell in server.pages.cells(FleetFilter(), server.phases())}
    assert cells == {"asks": "never heard by MQTT", "reports": "never heard by MQTT", "was": "enrolling"}

    server.now += FRESH_S
    assert set(server.links().values()) == {LinkState.OFFLINE}
    counts = server.pages.counts(server.phases())
    assert (counts.offline, counts.by_http, counts.http_alone, counts.never) == (3, 0, 0, 0)
    cells = {cell.station: state_of(cell) for cell in server.pages.cells(FleetFilter(), server.phases())}
    assert set(cells.values()) == {"offline"}


def test_the_lists_hold_whom_the_numbers_count(tables: Tables) -> None:
    server = Server(tables)
    server.now = T0 + NEW_S + 1.0
    server.ask("asks", "was")
    phases = server.phases()
    counts = server.pages.counts(phases)
    named = {LinkState.HTTP: counts.by_http, LinkState.HTTP_ALONE: counts.http_alone, LinkState.OFFLINE: counts.offline}
    for link, number in named.items():
        assert len(server.pages.page(FleetFilter(link=link), phases).rows) == number == 1
    unheard = server.pages.page(FleetFilter(drift=DriftPhase.UNHEARD), phases).rows
    assert [row.station for row in unheard] == ["asks", "reports"] and counts.unheard == 2


def test_somebody_is_told_when_its_http_falls_silent_too(tables: Tables) -> None:
    now = T0 + 2 * NEW_S

    def silent(by_http: dict[str, float]) -> tuple[str, ...]:
        facts = Facts(now, stations=tables.stations.status(), heard_by_http=by_http)
        return next((need.members for need in needs(facts) if need.kind == SILENT), ())

    assert silent({"asks": now - 60.0, "reports": now - 60.0}) == ("was",)
    assert silent({"asks": now - NEW_S, "reports": now - NEW_S}) == ("asks", "reports", "was")


def test_a_station_that_comes_onto_the_broker_late_is_online_and_learns(tables: Tables) -> None:
    server = Server(tables)
    server.now = T0 + NEW_S + 1.0
    server.ask("asks")
    tables.stations.commit([StationState("asks", "b", True, server.now)], [], server.now)
    row = server.rows()["asks"]
    assert (row.link, row.drift) == (LinkState.ONLINE, DriftPhase.ENROLLING)
