"""A stranger who asks for a page is sent to the sign-in page before a page is drawn, and comes back to what was asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nicegui import Client

from cloud.api.auth import COOKIE
from tests.browser.conftest import serve_pages
from tests.cloud.api.whole_app import WholeApp, open_whole_app

# As a proxy passes it on: nobody is local then.
STRANGER = {"X-Forwarded-For": "10.0.0.5"}
_CONFIG = "\n[auth]\nrequests_per_minute = 100000\nfailures_per_minute = 100000\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeApp]:
    for made in open_whole_app(tmp_path_factory.mktemp("whole"), _CONFIG):
        for url in serve_pages(made.app):  # pages are drawn only where NiceGUI was started with the server
            yield replace(made, url=url)


def stranger(whole: WholeApp, path: str, method: str = "GET") -> httpx.Response:
    return httpx.request(method, whole.url + path, headers=STRANGER, timeout=30)


@pytest.mark.parametrize(
    "path",
    ["/", "/fleet", "/fleet?site=hall%201&q=a%2Bb", "/station/line1", "/station/a%2Fb%20c", "/models/v1/dataset",
     "/rollouts/7", "/review?part=x#here", "/audit", "/runbooks"],
)  # fmt: skip
def test_a_stranger_is_sent_to_sign_in_and_no_page_is_made(whole: WholeApp, path: str) -> None:
    before = set(Client.instances)
    answer = stranger(whole, path)
    onward = urlsplit(answer.headers["location"])
    assert (answer.status_code, onward.path, onward.netloc) == (303, "/sign-in", "")
    assert parse_qs(onward.query) == {"next": [path.partition("#")[0]]}
    assert set(Client.instances) == before and len(answer.content) == 0
    assert stranger(whole, path, "HEAD").status_code == 303


def test_after_signing_in_the_page_that_was_asked_for_is_there(whole: WholeApp) -> None:
    with httpx.Client(base_url=whole.url, headers=STRANGER, follow_redirects=True, timeout=60) as browser:
        asked = "/fleet?site=hall%201"
        shown = browser.get(asked)
        assert shown.url.path == "/sign-in" and f'name="next" value="{asked}"' in shown.text
        page = browser.post("/sign-in", data={"token": whole.operator, "next": asked})
        assert str(page.url) == whole.url + asked and "operator (admin)" in page.text
        assert browser.get("/nowhere").status_code == 404
        browser.post("/sign-out")
        assert browser.get("/fleet").url.path == "/sign-in"


def test_who_may_look_without_signing_in_sees_the_page(whole: WholeApp) -> None:
    answer = httpx.get(f"{whole.url}/fleet", timeout=60)
    assert answer.status_code == 200 and "visitor (viewer)" in answer.text


def test_what_is_no_page_is_told_in_a_line_to_a_stranger(whole: WholeApp) -> None:
    before = set(Client.instances)
    for path, method in (
        ("/nowhere", "GET"),
        ("/fleet/x/y", "GET"),
        ("/_nicegui/x", "GET"),
        ("/_niceguix", "GET"),
        ("/fleet", "POST"),
        ("/../etc", "GET"),
    ):
        answer = stranger(whole, path, method)
        assert answer.status_code == 404 and "/sign-in" in answer.json()["detail"]
    assert set(Client.instances) == before


def test_what_pages_are_made_of_and_what_is_no_page_are_as_before(whole: WholeApp) -> None:
    made_of = next(each for each in httpx.get(f"{whole.url}/fleet", timeout=60).text.split('"') if "/static/" in each)
    answer = stranger(whole, made_of)
    assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
    assert stranger(whole, "/sign-in").status_code == 200
    assert stranger(whole, "/v1/fleet").status_code == 401 and stranger(whole, "/healthz").status_code == 200
    assert stranger(whole, "/metrics").status_code == 401 and stranger(whole, "/review/image/x").status_code == 401


def test_a_cookie_that_is_nobodys_is_a_strangers(whole: WholeApp) -> None:
    answer = httpx.get(f"{whole.url}/fleet", headers={**STRANGER, "Cookie": f"{COOKIE}=made-up"})
    assert answer.status_code == 303


@pytest.mark.parametrize(
    "path", ["//evil.example/fleet", "/%5Cevil.example", "/\\evil.example", "/station/" + "x" * 600]
)
def test_the_way_on_is_none_to_another_server(whole: WholeApp, path: str) -> None:
    answer = stranger(whole, path)
    assert answer.status_code in (303, 404)
    if answer.status_code == 303:
        assert answer.headers["location"].startswith("/sign-in?next=/")
        assert "//" not in answer.headers["location"] and len(answer.headers["location"]) < 600


@settings(max_examples=60)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=80))
def test_whatever_the_query_says_the_way_on_is_a_path_of_this_server(whole: WholeApp, query: str) -> None:
    with httpx.Client(headers=STRANGER, follow_redirects=False) as client:
        answer = client.get(f"{whole.url}/fleet?{query}")
    assert answer.status_code == 303
    location = urlsplit(answer.headers["location"])
    assert (location.scheme, location.netloc, location.path) == ("", "", "/sign-in")
    (onward,) = parse_qs(location.query)["next"]
    assert onward == "/" or urlsplit(onward).path == "/fleet"


def test_sending_a_stranger_on_costs_a_fraction_of_a_page(whole: WholeApp) -> None:
    def median_s(headers: dict[str, str]) -> float:
        took = []
        with httpx.Client(headers=headers, timeout=60) as client:
            for _ in range(15):
                began = time.perf_counter()
                client.get(f"{whole.url}/")
                took.append(time.perf_counter() - began)
        return sorted(took)[7]

    page_s, sent_on_s = median_s({}), median_s(STRANGER)
    assert sent_on_s < page_s / 3, (sent_on_s, page_s)


def test_a_database_that_is_away_is_told_and_lets_nobody_in(whole: WholeApp) -> None:
    cookies = {"Cookie": f"{COOKIE}=some-cookie"}
    with whole.tables.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE sessions RENAME TO sessions_away")
    try:
        answer = httpx.get(f"{whole.url}/fleet", headers={**STRANGER, **cookies}, timeout=60)
        assert answer.status_code == 503 and list(answer.json()) == ["detail"] and "retry-after" in answer.headers
    finally:
        with whole.tables.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE sessions_away RENAME TO sessions")
    assert httpx.get(f"{whole.url}/fleet", headers={**STRANGER, **cookies}, timeout=60).status_code == 303
