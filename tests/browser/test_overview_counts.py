"""The overview's counts of a fleet in which some were never heard: what each says, and whom its link leads to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from nicegui import ui
from playwright.sync_api import Page, expect

from cloud.api.auth import Person, Role
from cloud.dashboard.fleet_page import fleet_page
from cloud.dashboard.fleet_source import NEW_S, FleetSource, phases_of
from cloud.dashboard.overview_page import OverviewReads, overview_page
from cloud.dashboard.shell import COOKIE, Shell
from cloud.store.fleet_pages import FleetPages
from cloud.store.verdict_mix import VerdictMix
from contract.messages import StationState
from tests.browser.conftest import serve_pages
from tests.fakes.big_fleet import Versions
from tests.fakes.cloud_tables import open_tables

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`forgotten` and `lost` were added days ago, `new` just now; none was heard. `learning` and `quiet` are here."""
    tables = open_tables(Path(tmp_path_factory.mktemp("counts")) / "cloud.db")
    now = time.time()
    for name in ("forgotten", "lost", "new", "learning", "quiet"):
        tables.stations.add(name, "t", "", now if name == "new" else now - 9 * NEW_S)
    tables.stations.commit([StationState(name, "b", True, now) for name in ("learning", "quiet")], [], now)
    source = FleetSource(
        pages=FleetPages(tables.database),
        releases=Versions(),
        phases=lambda: phases_of(["learning", "quiet"], [], ["learning"], time.time()),
        sentences=lambda wanted: {},
        needs=lambda: [],
        now=time.time,
    )
    app = FastAPI()
    shell = Shell({"vic": Person("vic", Role.VIEWER)}.get, open_to_look=False)
    nothing = OverviewReads(
        mix=lambda: VerdictMix(60.0, ()), rollout=lambda: ("", ""), review=lambda: ("", ""), well_since=lambda: 0.0
    )
    overview_page(shell, source, nothing)
    fleet_page(shell, source)
    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    yield from serve_pages(app)
    tables.database.close()


@pytest.mark.slow
def test_new_ones_are_enrolling_and_those_of_long_ago_were_never_heard(
    url: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(url, {COOKIE: "vic"})
    counts = page.locator(".pl-counts")
    expect(counts).to_contain_text("2 of 5 stations online")
    for text, names in (
        ("2 enrolling (1 new, not heard yet)", ("learning", "new")),
        ("2 never heard by MQTT, added over a day ago", ("forgotten", "lost")),
    ):
        page.goto(url)
        counts.get_by_role("link", name=text, exact=True).click()
        rows = page.locator("tbody tr")
        expect(rows).to_have_count(2)
        for row, name in zip(rows.all(), names, strict=True):
            expect(row).to_contain_text(name)
