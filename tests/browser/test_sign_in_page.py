"""Signing in with a real Chromium on the real server, by keyboard; and what becomes of a page whose token is revoked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from cloud.api.auth import COOKIE
from tests.fakes.cloud_plant import CloudPlant

pytestmark = pytest.mark.browser

PASSED_ON = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via", "X-Forwarded-Host", "X-Forwarded-Proto")


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudPlant]:
    made = CloudPlant(tmp_path_factory.mktemp("plant"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def admin(plant: CloudPlant) -> dict[str, str]:
    token = (plant.home / "secrets" / "operator.token").read_text().strip()
    return {"Authorization": f"Bearer {token}"}


def make_token(plant: CloudPlant, admin: dict[str, str], person: str, role: str) -> tuple[int, str]:
    body = {"person": person, "role": role}
    made = httpx.post(f"{plant.url}/v1/tokens", json=body, headers=admin, timeout=60).raise_for_status().json()
    return made["id"], made["token"]


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_somebody_signs_in_and_out_by_keyboard(
    plant: CloudPlant,
    admin: dict[str, str],
    open_page: Callable[..., Page],
    assert_accessible: Callable[[Page], None],
    dark: bool,
) -> None:
    _, token = make_token(plant, admin, "eva", "engineer")
    page = open_page(f"{plant.url}/sign-in?next=/", dark=dark)
    assert_accessible(page)
    field = page.get_by_label("Your token")
    expect(field).to_be_focused()
    page.keyboard.type("plt_not-a-token")
    page.keyboard.press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("This token is nobody's")
    expect(alert).to_contain_text("plumbline-cloud token add NAME --role ROLE")
    expect(field).to_have_value("")
    assert_accessible(page)
    page.keyboard.type(token)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Sign in")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("eva (engineer)")).to_be_visible()
    assert page.url == f"{plant.url}/"
    shown = [page.url, page.content(), str(page.evaluate("JSON.stringify(performance.getEntries())"))]
    shown.append(str(page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, history.state])")))
    assert not any(token in each or "plt_not-a-token" in each for each in shown)
    (cookie,) = [each for each in page.context.cookies() if each["name"] == COOKIE]
    assert cookie["httpOnly"] and cookie["sameSite"] == "Lax" and token not in str(cookie)
    page.go_back()
    assert token not in page.url and token not in page.content()
    page.goto(f"{plant.url}/sign-in")
    expect(page.get_by_text("You are signed in as eva (engineer).")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="Sign out").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Your token")).to_be_focused()
    assert not [each for each in page.context.cookies() if each["name"] == COOKIE]


@pytest.mark.slow
def test_an_open_page_loses_its_powers_when_its_token_is_revoked(
    plant: CloudPlant, admin: dict[str, str], open_page: Callable[..., Page]
) -> None:
    number, token = make_token(plant, admin, "max", "engineer")
    signed_in = httpx.post(f"{plant.url}/sign-in", data={"token": token}, timeout=60)
    page = open_page(f"{plant.url}/", {COOKIE: signed_in.cookies[COOKIE]})
    expect(page.get_by_text("max (engineer)")).to_be_visible()
    gone = httpx.delete(f"{plant.url}/v1/tokens/{number}", headers=admin, timeout=60)
    assert gone.status_code == 204
    cookies = {COOKIE: signed_in.cookies[COOKIE]}
    answer = httpx.get(f"{plant.url}/v1/review/x/image", cookies=cookies, timeout=60)
    assert answer.status_code == 401
    page.reload()
    expect(page.get_by_text("visitor (viewer)")).to_be_visible()


def test_on_loopback_one_may_look_and_only_from_this_machine(plant: CloudPlant) -> None:
    def page(host: str = "localhost", **more: str) -> str:
        return httpx.get(plant.url + "/", headers={"Host": host, **more}, timeout=60, follow_redirects=True).text

    assert "visitor (viewer)" in page()
    for passed_on in PASSED_ON:
        shown = page(**{passed_on: "127.0.0.1"})
        assert "visitor" not in shown and "sign in" in shown.lower()
    assert "visitor" not in page("evil.example") and "localhost" in page("evil.example")


def test_no_other_sites_script_signs_anybody_in(
    plant: CloudPlant, admin: dict[str, str], open_page: Callable[..., Page]
) -> None:
    _, token = make_token(plant, admin, "ole", "viewer")
    # Another origin on the same machine: the same address by another name.
    page = open_page(
        f"{plant.url.replace('127.0.0.1', 'localhost')}/sign-in", expected=("403", "Content Security Policy", "form")
    )
    page.evaluate(
        """([url, token]) => {
          const form = document.createElement('form');
          form.method = 'post'; form.action = url + '/sign-in';
          const field = document.createElement('input');
          field.name = 'token'; field.value = token; form.append(field);
          document.body.append(form); form.submit();
        }""",
        [plant.url, token],
    )
    time.sleep(1.0)
    assert not [each for each in page.context.cookies() if each["name"] == COOKIE]
