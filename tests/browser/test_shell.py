"""What is around every page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI, Request
from nicegui import ui
from playwright.sync_api import Page, expect

from cloud.api.auth import Person, Role, Scope
from cloud.dashboard.shell import COOKIE, Shell
from tests.browser.conftest import serve_pages

pytestmark = pytest.mark.browser

PEOPLE = {role.value: Person(f"{role.value} anna", role) for role in Role}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app, shell = FastAPI(), Shell(PEOPLE.get, open_to_look=False)

    @ui.page("/rollouts")
    def rollouts(request: Request) -> None:
        if (entered := shell.enter(request, "Rollouts", "/rollouts", Scope.READ)) is None:
            return
        with entered[1]:
            ui.label("here they are")

    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    yield from serve_pages(app)


def test_who_may_not_look_is_told_who_may(url: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{url}/rollouts", {COOKIE: "inspector"})
    expect(page.get_by_text("sign in as one of: viewer, engineer, releaser, admin")).to_be_visible()
    expect(page.get_by_text("here they are")).to_have_count(0)


def test_who_may_look_sees_the_page_and_who_they_are(
    url: str, open_page: Callable[..., Page], assert_accessible: Callable[[Page], None]
) -> None:
    page = open_page(f"{url}/rollouts", {COOKIE: "viewer"})
    expect(page.get_by_text("here they are")).to_be_visible()
    expect(page.get_by_text("viewer anna (viewer)")).to_be_visible()
    assert_accessible(page)
