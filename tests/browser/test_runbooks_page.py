"""The runbooks' page: where the overview and alerts send people, in words that can be read and at the right place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from nicegui import ui
from playwright.sync_api import Page, expect

from cloud.api.auth import Person, Role
from cloud.dashboard.runbooks_page import install_runbooks_page, runbook_path, runbooks
from cloud.dashboard.shell import COOKIE, Shell
from cloud.ports.needs import Need, Severity
from tests.browser.conftest import serve_pages

pytestmark = pytest.mark.browser

VIEWER = {COOKIE: "vic"}
TEXT = (Path(__file__).parent.parent.parent / "docs" / "RUNBOOKS.md").read_text("utf-8")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = FastAPI()
    install_runbooks_page(Shell({"vic": Person("vic", Role.VIEWER)}.get, open_to_look=False))
    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    yield from serve_pages(app)


def test_the_package_has_the_text_of_docs() -> None:
    before, sections = runbooks()
    assert list(sections) == re.findall(r"^## (\S+)$", TEXT, re.MULTILINE) and len(sections) > 20
    plain = re.sub(r"^```\S.*$", "```", TEXT, flags=re.MULTILINE)
    assert all(text in plain for text in (*before, *sections.values()))
    assert not any("<!--" in text or "```sh" in text for text in (*before, *sections.values()))


def test_a_link_leads_to_its_runbook(url: str, open_page: Callable[..., Page]) -> None:
    need = Need("k", "silent station", Severity.PAGE, "line3 is silent", "/station/line3", "silent-station")
    page = open_page(url + runbook_path(need), VIEWER)
    runbook = page.locator("#silent-station")
    expect(runbook.get_by_role("heading", name="silent-station")).to_be_in_viewport()
    expect(runbook).to_contain_text("plumbline-agent status --config agent.toml")
    expect(runbook.locator("strong").first).to_have_text("Seen.")
    # From one to the next, and back.
    runbook.get_by_role("link", name="key-loss").click()
    expect(page.locator("#key-loss").get_by_role("heading")).to_be_in_viewport()
    expect(page).to_have_url(f"{url}/runbooks#key-loss")


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_it_can_be_read_by_everybody_who_may_look(
    url: str, open_page: Callable[..., Page], assert_accessible: Callable[..., None], dark: bool
) -> None:
    page = open_page(f"{url}/runbooks", VIEWER, dark=dark, width=1100)
    expect(page.get_by_role("heading", level=2)).to_have_count(len(runbooks()[1]))
    assert page.evaluate("document.documentElement.scrollWidth") <= 1100
    assert_accessible(page)
    stranger = open_page(f"{url}/runbooks")
    expect(stranger.get_by_text("sign in as one of")).to_be_visible()
    expect(stranger.get_by_text("broker-down")).to_have_count(0)
