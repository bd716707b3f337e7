"""The audit page in a real Chromium, over a real database."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fastapi import FastAPI
from nicegui import ui
from playwright.sync_api import Page, expect

from cloud.api.auth import Person, Role
from cloud.dashboard.audit_page import install_audit_page
from cloud.dashboard.shell import COOKIE, Shell
from tests.browser.conftest import serve_pages
from tests.fakes.cloud_tables import T0, Tables, open_tables

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=\"document.title='owned'\">{{ 7*7 }}"


@dataclass(slots=True)
class Served:
    """The page, what is behind it, and who may look (each by a cookie of its own name)."""

    url: str = ""
    people: dict[str, Person] = field(default_factory=dict)
    at: float = T0 + 260.0


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    opened = open_tables(tmp_path_factory.mktemp("audit") / "cloud.db")
    for number in range(120):
        who, act = ("anna", "abort") if number % 10 == 0 else ("plumbline", "order")
        opened.audit.append(T0 + number, who, act, f"rollout {number}")
    opened.audit.append(T0 + 200, "=cmd()", "label", HOSTILE)
    yield opened
    opened.database.close()


@pytest.fixture(scope="module")
def served(tables: Tables) -> Iterator[Served]:
    found = Served(people={role.value: Person(f"{role.value} anna", role) for role in Role})
    app = FastAPI()
    install_audit_page(
        Shell(lambda cookie: found.people.get(cookie), open_to_look=False), tables.audit, lambda: found.at
    )
    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    server = serve_pages(app)
    found.url = f"{next(server)}/audit"
    yield found
    next(server, None)


@pytest.fixture
def page(served: Served, open_page: Callable[..., Page]) -> Page:
    return open_page(served.url, {COOKIE: "viewer"})


def _ids(page: Page) -> list[str]:
    return page.locator(".table-audit tbody tr td:first-child").all_inner_texts()


def test_acts_are_newest_first_with_their_exact_time_and_the_chain_is_intact(
    page: Page, assert_accessible: Callable[[Page], None]
) -> None:
    expect(page.get_by_text("chain intact: 121 entries; checked")).to_be_visible()
    expect(page.locator(".table-audit tbody tr")).to_have_count(50)
    assert _ids(page)[:3] == ["121", "120", "119"]
    when = page.locator(".table-audit tbody tr").first.locator("span[title]")
    expect(when).to_have_text("1 min ago")
    expect(when).to_have_attribute("title", "2026-11-20 18:43:20 UTC")
    assert_accessible(page)


def test_it_is_readable_in_the_dark(
    served: Served, open_page: Callable[..., Page], assert_accessible: Callable[[Page], None]
) -> None:
    page = open_page(served.url, {COOKIE: "viewer"}, dark=True)
    expect(page.get_by_text("chain intact")).to_be_visible()
    assert_accessible(page)


def test_older_entries_are_a_page_further_by_keyboard_alone(page: Page) -> None:
    expect(page.locator(".table-audit tbody tr")).to_have_count(50)
    expect(page.get_by_role("button", name="Newer")).to_be_disabled()
    older = page.get_by_role("button", name="Older")
    older.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".table-audit tbody tr td").first).to_have_text("71")
    page.keyboard.press("Enter")
    expect(page.locator(".table-audit tbody tr td").first).to_have_text("21")
    expect(older).to_be_disabled()
    page.get_by_role("button", name="Newer").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".table-audit tbody tr td").first).to_have_text("71")


def test_one_finds_what_a_person_did_and_where_there_is_none_it_says_so(page: Page) -> None:
    page.get_by_label("Who").fill("ANN")
    expect(page.locator(".table-audit tbody tr")).to_have_count(12)
    page.get_by_label("Detail holds").fill("110")
    expect(page.locator(".table-audit tbody tr td").nth(4)).to_have_text("rollout 110")
    expect(page.locator(".table-audit tbody tr")).to_have_count(1)
    page.get_by_label("Detail holds").fill("nowhere")
    expect(page.get_by_text("No entry matches.")).to_be_visible()


def test_a_link_may_carry_the_filters(served: Served, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{served.url}?act=abort&text=rollout", {COOKIE: "viewer"})
    expect(page.locator(".table-audit tbody tr")).to_have_count(12)


def test_what_people_wrote_is_text(page: Page) -> None:
    first = page.locator(".table-audit tbody tr").first
    expect(first.locator("td").nth(4)).to_have_text(HOSTILE)
    expect(page.locator(".table-audit img")).to_have_count(0)
    assert page.title() == "Audit log · Plumbline"


def test_the_csv_holds_what_is_filtered_and_runs_no_formula(page: Page, tmp_path: Path) -> None:
    page.get_by_label("Who").fill("cmd")
    expect(page.locator(".table-audit tbody tr")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as CSV").click()
    rows = list(csv.reader(io.StringIO(download.value.path().read_text())))
    assert len(rows) == 2 and rows[1][2] == "'=cmd()" and rows[1][4] == HOSTILE


def test_a_session_that_ends_shows_nothing_more(served: Served, open_page: Callable[..., Page]) -> None:
    served.people["leaving"] = Person("leaving", Role.VIEWER)
    page = open_page(served.url, {COOKIE: "leaving"})
    expect(page.locator(".table-audit tbody tr")).to_have_count(50)
    del served.people["leaving"]
    page.get_by_role("button", name="Older").click()
    expect(page.get_by_text("Your session has ended, or you may no longer see this")).to_be_visible()
    assert _ids(page)[0] == "121"
    page.get_by_role("button", name="Export as CSV").click()
    expect(page.get_by_text("sign in again to export the log")).to_be_visible()


def test_an_inspector_does_not_see_it(served: Served, open_page: Callable[..., Page]) -> None:
    page = open_page(served.url, {COOKIE: "inspector"})
    expect(page.get_by_text("sign in as one of: viewer, engineer, releaser, admin")).to_be_visible()
    expect(page.locator(".table-audit")).to_have_count(0)


@pytest.mark.slow
def test_a_log_that_was_tampered_with_says_where(served: Served, tables: Tables, page: Page) -> None:
    expect(page.get_by_text("chain intact")).to_be_visible()
    with tables.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit SET actor = 'nobody' WHERE id = 3")
    served.at += 120.0  # a walk is due
    expect(page.get_by_text("broken at entry 3")).to_be_visible()
    with tables.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit SET actor = 'plumbline' WHERE id = 3")
