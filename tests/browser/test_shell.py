"""What is around every page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI, Request
from nicegui import ui
from playwright.sync_api import Page, expect

from cloud.api.auth import Person, Role, Scope
from cloud.dashboard.banners import banners_of
from cloud.dashboard.shell import COOKIE, Shell
from tests.browser.conftest import serve_pages

pytestmark = pytest.mark.browser

PEOPLE = {role.value: Person(f"{role.value} anna", role) for role in Role}
EVIL = "<img src=x onerror=\"document.title='owned'\"> {{ 6*7 }}"
BANNERS = banners_of(broker_connected=False, simulated=["line1"], strangers=[EVIL], signing="Sign within 2 days.")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app, shell = FastAPI(), Shell(PEOPLE.get, open_to_look=False, banners=lambda: BANNERS)

    @ui.page("/rollouts")
    def rollouts(request: Request) -> None:
        if (entered := shell.enter(request, "Rollouts", "/rollouts", Scope.READ)) is None:
            return
        with entered[1]:
            ui.label("here they are")

    @app.post("/sign-out")
    def sign_out() -> dict[str, str]:
        PEOPLE.pop("engineer", None)
        return {}

    @app.get("/sign-in")
    def sign_in() -> str:
        return "sign in here"

    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    yield from serve_pages(app)


def test_who_may_not_look_is_told_who_may(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{url}/rollouts", {COOKIE: "inspector"})
    expect(page.get_by_text("sign in as one of: viewer, engineer, releaser, admin")).to_be_visible()
    expect(page.get_by_text("here they are")).to_have_count(0)
    expect(page.get_by_text("SIMULATED")).to_have_count(0)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1400, 1100])
def test_who_may_look_sees_the_page_and_who_they_are(
    url: str, open_page: Callable[..., Page], assert_accessible: Callable[..., None], dark: bool, width: int
) -> None:
    page = open_page(f"{url}/rollouts", {COOKIE: "viewer"}, dark=dark, width=width)
    expect(page.get_by_text("here they are")).to_be_visible()
    expect(page.get_by_text("viewer anna (viewer)")).to_be_visible()
    expect(page.get_by_role("heading", level=1, name="Rollouts")).to_be_visible()
    expect(page.locator("nav [aria-current=page]")).to_have_text("Rollouts")
    expect(page.get_by_text("SIMULATED: line1 has no camera")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "en-US"
    assert page.evaluate("document.body.classList.contains('body--dark')") is dark
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert_accessible(page)


def test_banners_say_what_to_do_and_are_text(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{url}/rollouts", {COOKIE: "viewer"})
    expect(page.locator(".pl-banners .broker")).to_contain_text("The broker is not reached: nothing comes in.")
    expect(page.locator(".pl-banners .signing")).to_contain_text("Sign within 2 days.")
    expect(page.locator(".pl-banners .strangers")).to_contain_text(f"{EVIL} speaks on the broker")
    assert page.locator(".pl-banners img").count() == 0 and page.title() == "Rollouts · Plumbline"


def test_colours_follow_the_system_until_somebody_chooses_and_the_browser_remembers(
    url: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(f"{url}/rollouts", {COOKIE: "viewer"})
    body = page.locator("body")
    expect(body).to_contain_class("body--light")
    page.emulate_media(color_scheme="dark")
    expect(body).to_contain_class("body--dark")
    page.emulate_media(color_scheme="light")
    page.get_by_role("button", name="Colours: as the system").click()
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    expect(body).to_contain_class("body--dark")
    page.wait_for_function(
        "document.cookie.includes('plumbline_theme=dark')"
    )  # it comes after the words and the colours
    page.reload()
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    expect(body).to_contain_class("body--dark")
    page.get_by_role("button", name="Colours: dark").click()
    page.get_by_role("button", name="Colours: light").click()
    expect(page.get_by_role("button", name="Colours: as the system")).to_be_visible()
    page.wait_for_function("!document.cookie.includes('plumbline_theme=')")
    page.reload()
    expect(page.get_by_role("button", name="Colours: as the system")).to_be_visible()


def test_the_first_key_leads_past_the_navigation_and_focus_is_seen(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{url}/rollouts", {COOKIE: "viewer"})
    expect(page.get_by_text("here they are")).to_be_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to main content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Overview"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.classList.contains('pl-page')")


@pytest.mark.slow
def test_signing_out_leaves_the_page_and_a_page_left_open_says_so(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{url}/rollouts", {COOKIE: "engineer"})
    other = open_page(f"{url}/rollouts", {COOKIE: "engineer"})
    expect(other.get_by_text("engineer anna (engineer)")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{url}/sign-in")
    expect(other.get_by_text("Your session has ended")).to_be_visible()
