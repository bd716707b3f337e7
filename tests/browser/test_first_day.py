"""The first day: a plant with nothing in it says what to do, and who may only label comes to where that is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from nicegui import ui
from playwright.sync_api import Page, expect

from cloud.api.auth import Person, Role
from cloud.dashboard.overview_page import OverviewReads, overview_page
from cloud.dashboard.shell import COOKIE, Shell
from cloud.ports.promises import Budget
from cloud.store.verdict_mix import VerdictMix
from tests.browser.conftest import serve_pages
from tests.fakes.big_fleet import fleet_source
from tests.fakes.cloud_tables import open_tables

pytestmark = pytest.mark.browser

PEOPLE = {"ina": Person("ina", Role.INSPECTOR), "vic": Person("vic", Role.VIEWER)}
SPENT = Budget("in_time", 0.99, 0.98, 1000, 2.0, (0.0, 0.0), "98 % of 1,000 frames decided were decided in time")
NOTHING = Budget("recovery", 0.9, None, 0, 0.0, (0.0, 0.0), "nothing was counted in 28 days")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tables = open_tables(Path(tmp_path_factory.mktemp("empty")) / "cloud.db")
    app, shell = FastAPI(), Shell(PEOPLE.get, open_to_look=False)
    reads = OverviewReads(
        mix=lambda: VerdictMix(60.0, ()),
        rollout=lambda: ("No rollout is under way.", ""),
        review=lambda: ("0 parts wait for an inspector, 0 labelled.", "/review"),
        well_since=lambda: 0.0,
        budgets=lambda: (SPENT, NOTHING),
    )
    overview_page(shell, fleet_source(tables, [], []), reads)

    @ui.page("/review")
    def review() -> None:
        ui.label("parts to label")

    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    yield from serve_pages(app)
    tables.database.close()


def test_an_empty_plant_says_what_to_do_and_shows_no_full_bar_for_what_was_not_counted(
    url: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(url, {COOKIE: "vic"})
    needs = page.locator(".pl-needs")
    expect(needs).to_contain_text("plumbline-cloud station add NAME --out FOLDER")
    expect(needs).to_contain_text("plumbline-cloud train --help")
    in_time, recovery = (page.locator(".pl-budget").filter(has_text=text) for text in ("Decisions in time", "Recovery"))
    expect(in_time.locator(".q-linear-progress")).to_have_count(1)
    expect(recovery.locator(".q-linear-progress")).to_have_count(0)
    expect(page.locator(".pl-counts li:visible")).to_have_count(2)


def test_who_may_only_label_comes_to_the_review_and_a_stranger_is_told_who_may_look(
    url: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(url, {COOKIE: "ina"})
    expect(page.get_by_text("parts to label")).to_be_visible()
    assert page.url == f"{url}/review"
    expect(open_page(url).get_by_text("sign in as one of")).to_be_visible()
