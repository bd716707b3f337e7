"""10,000 stations stay usable: the fleet page over a real database of them, in a real Chromium."""

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
from cloud.dashboard.shell import COOKIE, Shell
from tests.browser.conftest import busy_factor, serve_pages
from tests.fakes.big_fleet import fill, fleet_source
from tests.fakes.cloud_tables import open_tables

pytestmark = pytest.mark.browser

VIEWER = {COOKIE: "anna"}
DRIFTING = ["line00042", "line07777"]
# The page's promise; the tests' machine does other things at the same time, so the best of some counts.
TRIES = 6


def _promised_s() -> float:
    """Return the promise of a machine that serves the page and does nothing else, times what else this one does now."""
    return 2.0 * busy_factor()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tables = open_tables(Path(tmp_path_factory.mktemp("big")) / "cloud.db")
    names = fill(tables, 10_000, time.time())
    app, shell = FastAPI(), Shell(lambda _: Person("anna", Role.VIEWER), open_to_look=False)
    fleet_page(shell, fleet_source(tables, names, DRIFTING))
    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    yield from serve_pages(app)
    tables.database.close()


def _best_of(tries: Callable[[], float]) -> float:
    """Return what the first try took that keeps the promise."""
    took_s = []
    for _ in range(TRIES):
        took_s.append(tries())
        if took_s[-1] < _promised_s():
            return took_s[-1]
    pytest.fail(f"none of {TRIES} tries kept the promise of {_promised_s():.1f} s: {took_s}")


def _rows_of(page: Page) -> list[str]:
    return page.locator(".table-stations tbody tr td:first-child").all_inner_texts()


@pytest.mark.slow
def test_a_page_of_ten_thousand_shows_its_rows_within_two_seconds(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page("about:blank")
    page.context.add_cookies([{"name": COOKIE, "value": "anna", "url": url}])

    def from_navigation(address: str, text: str) -> Callable[[], float]:
        def once() -> float:
            page.goto("about:blank")
            began = time.monotonic()
            page.goto(f"{url}{address}", wait_until="commit")
            page.locator(".table-stations tbody").get_by_text(text, exact=True).first.wait_for()
            return time.monotonic() - began

        return once

    plain = _best_of(from_navigation("/fleet", "line00049"))
    asked = _best_of(from_navigation("/fleet?sort=frames&descending=yes&site=hall 07&start=50", "line07967"))
    drifting = _best_of(from_navigation("/fleet?drift=drifting", "line07777"))
    print(f"rows after {plain:.2f} s; filtered, sorted, second page {asked:.2f} s; drifting {drifting:.2f} s")


@pytest.mark.slow
def test_sorting_and_filtering_ten_thousand_answers_within_two_seconds(
    url: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(f"{url}/fleet", VIEWER)
    first = page.locator(".table-stations tbody tr").first
    expect(first).to_contain_text("line00000")

    def sort() -> float:
        page.get_by_role("button", name="Station", exact=False).first.click()
        expect(first).to_contain_text("line00000")
        began = time.monotonic()
        page.get_by_role("button", name="Frames").click()
        page.get_by_role("button", name="Frames").click()
        expect(first).to_contain_text("line09999")
        return time.monotonic() - began

    def look_for() -> float:
        page.get_by_label("Name or site").fill("")
        expect(page.locator(".pl-headline")).not_to_contain_text("shown")
        began = time.monotonic()
        page.get_by_label("Name or site").fill("line0123")
        expect(page.locator(".pl-headline")).to_contain_text("10 shown")
        return time.monotonic() - began

    sorting, looking = _best_of(sort), _best_of(look_for)
    print(f"sorted twice in {sorting:.2f} s, found in {looking:.2f} s")
    assert "text=line0123" in page.url
    assert sorted(_rows_of(page)) == [f"line0123{n}" for n in range(10)]


@pytest.mark.slow
def test_the_map_has_a_mark_for_each_station_and_opens_it(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{url}/fleet?view=map", VIEWER, expected=("404",))
    chart = page.get_by_role("img", name="Map of the fleet: 10,000 stations: 2 drifting, 1,112 offline")
    expect(chart).to_be_visible()
    number = (chart.get_attribute("id") or "")[1:]
    drawn = f"() => getElement({number}).chart.getOption().series.reduce((n, each) => n + each.data.length, 0)"
    page.wait_for_function(f"({drawn})() === 10000")
    where = page.evaluate(
        f"""() => {{ const chart = getElement({number}).chart, series = chart.getOption().series;
        const s = series.findIndex(each => each.name === 'drifting');
        return chart.convertToPixel({{seriesIndex: s}}, series[s].data[0].slice(0, 2)); }}"""
    )
    chart.click(position={"x": where[0], "y": where[1]})
    page.wait_for_url(f"{url}/station/line00042")
