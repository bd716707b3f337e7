"""Signing in with a token, what the cookie opens, and how either ends; over HTTP, against the real application."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.api.auth import COOKIE
from cloud.api.sign_in import safe_next
from tests.cloud.api.whole_app import WholeApp, bearer, open_whole_app

_IMAGE = "/v1/review/x0/image"
_CONFIG = "\n[auth]\nrequests_per_minute = 100000\nfailures_per_minute = 100000\n"

_BYTES = st.integers(33, 255).filter(lambda byte: byte != 127)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeApp]:
    yield from open_whole_app(tmp_path_factory.mktemp("whole"), _CONFIG)


@pytest.fixture
def browser(whole: WholeApp) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=whole.url, timeout=30) as client:
        yield client


def acts(whole: WholeApp) -> list[tuple[str, str, str]]:
    return [(each.actor, each.act, each.detail) for each in whole.tables.audit.entries()]


def test_a_token_signs_in_and_the_cookie_says_who_it_is(whole: WholeApp, browser: httpx.Client) -> None:
    number, token = whole.token("eva", "engineer")
    assert "Your token" in browser.get("/sign-in?next=/rollouts").text
    answer = browser.post("/sign-in", data={"token": f" {token}\n", "next": "/rollouts"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/rollouts")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie and "Secure" not in cookie
    assert token not in cookie and token not in answer.text
    assert "You are signed in as eva (engineer)" in browser.get("/sign-in").text
    assert ("operator", "token made", f"{number}: eva, engineer") in acts(whole)
    assert ("eva", "sign in", "engineer, by token") in acts(whole)
    listed = httpx.get(f"{whole.url}/v1/sessions", headers=bearer(whole.operator)).json()
    mine = [each for each in listed if each["person"] == "eva"]
    assert [(each["role"], each["token"], each["origin"]) for each in mine] == [("engineer", number, "token")]
    assert browser.cookies[COOKIE] not in str(listed)


def test_under_tls_the_cookie_is_secure_and_browsers_are_told_to_stay_there(whole: WholeApp) -> None:
    # uvicorn believes a proxy on this machine that TLS ends there.
    answer = httpx.post(f"{whole.url}/sign-in", data={"token": whole.operator}, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in answer.headers["set-cookie"] and "max-age" in answer.headers["strict-transport-security"]
    assert "strict-transport-security" not in httpx.get(f"{whole.url}/sign-in").headers


def test_a_wrong_token_is_told_what_to_do_and_is_shown_nowhere(whole: WholeApp, browser: httpx.Client) -> None:
    for wrong in ("plt_wrong-token", "x" * 300, "\x00", "é" * 40):
        answer = browser.post("/sign-in", data={"token": wrong, "next": "/fleet"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?trouble=wrong&next=/fleet")
        page = browser.get(answer.headers["location"]).text
        assert "plumbline-cloud token add" in page and 'value="/fleet"' in page
        assert wrong not in page and COOKIE not in browser.cookies
    for nothing in ({"token": "  "}, {}):
        answer = browser.post("/sign-in", data=nothing)
        assert "Paste your token first" in browser.get(answer.headers["location"]).text
    assert browser.get("/sign-in?trouble=<script>").text == browser.get("/sign-in").text
    assert browser.post("/sign-in", content=b"token=" + b"x" * 5000).status_code == 413
    assert browser.post("/sign-in", content=b"&".join([b"a=1"] * 20)).status_code == 422
    told = [detail for _, act, detail in acts(whole) if act == "sign-in failed"]
    assert told == ["1 wrong token from 127.0.0.1 (1)"], "the rest comes ten minutes later, in one entry"


def test_no_other_site_signs_anybody_in_or_out(whole: WholeApp, browser: httpx.Client) -> None:
    data = {"token": whole.operator}
    host = whole.url.removeprefix("http://")
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"https://{host}"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": f"http://{host}.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": whole.url, "Sec-Fetch-Site": "cross-site"},
    ):
        assert browser.post("/sign-in", data=data, headers=headers).status_code == 403
        assert browser.post("/sign-out", headers=headers).status_code == 403
    own = {"Origin": whole.url, "Sec-Fetch-Site": "same-origin"}
    assert browser.post("/sign-in", data=data, headers=own).status_code == 303


@pytest.mark.parametrize(
    "onward",
    ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/\t/evil.example", "", "evil",
     "/x\r\nSet-Cookie: a=b", "/sign-in", "/" + "x" * 600, "/ü", "\\\\evil.example"],
)  # fmt: skip
def test_the_way_on_leads_nowhere_else(whole: WholeApp, onward: str) -> None:
    answer = httpx.post(f"{whole.url}/sign-in", data={"token": whole.operator, "next": onward})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    shown = httpx.get(f"{whole.url}/sign-in", params={"next": onward}).text
    assert 'name="next" value="/"' in shown


@given(st.text())
def test_whatever_the_way_on_says_it_is_a_path_of_this_server(onward: str) -> None:
    path = safe_next(onward)
    assert path.startswith("/") and not path.startswith("//") and "\\" not in path
    assert path == onward or path == "/"
    assert all(32 <= ord(char) < 127 for char in path)


def test_a_revoked_token_ends_the_api_and_the_session_it_began(whole: WholeApp, browser: httpx.Client) -> None:
    number, token = whole.token("max", "inspector")
    browser.post("/sign-in", data={"token": token})
    assert browser.get(_IMAGE).status_code == 404, "let in, and its pixels have not come"
    assert httpx.get(f"{whole.url}/v1/review/queue", headers=bearer(token)).status_code == 200
    gone = httpx.delete(f"{whole.url}/v1/tokens/{number}", headers=bearer(whole.operator))
    assert gone.status_code == 204
    assert httpx.get(f"{whole.url}/v1/review/queue", headers=bearer(token)).status_code == 401
    assert browser.get(_IMAGE).status_code == 401
    assert "Your token" in browser.get("/sign-in").text
    assert "trouble=wrong" in browser.post("/sign-in", data={"token": token}).headers["location"]
    assert ("operator", "token revoked", f"{number}: max, inspector") in acts(whole)
    assert httpx.delete(f"{whole.url}/v1/tokens/{number}", headers=bearer(whole.operator)).status_code == 204
    assert [act for _, act, detail in acts(whole) if detail == f"{number}: max, inspector"] == [
        "token made", "token revoked",
    ]  # fmt: skip


def test_another_process_that_revokes_is_heeded_within_two_seconds(whole: WholeApp, browser: httpx.Client) -> None:
    number, token = whole.token("ole", "inspector")
    browser.post("/sign-in", data={"token": token})
    assert browser.get(_IMAGE).status_code == 404
    whole.tables.access.revoke(number, "another server", time.time())
    time.sleep(2.0)  # the promise; what is asked after that may take as long as the machine lets it
    assert browser.get(_IMAGE).status_code == 401 and not _works(whole, token)


def _works(whole: WholeApp, token: str) -> bool:
    return httpx.get(f"{whole.url}/v1/review/queue", headers=bearer(token)).status_code == 200


def test_a_token_expires(whole: WholeApp, browser: httpx.Client) -> None:
    number, token = whole.token("ida", "viewer", days=1.0)
    assert httpx.get(f"{whole.url}/v1/me", headers=bearer(token)).json()["person"] == "ida"
    browser.post("/sign-in", data={"token": token})
    assert "signed in as ida" in browser.get("/sign-in").text
    # A day is over: the machine may take its time for the above.
    with whole.tables.database.write() as connection:
        past = (time.time() - 1.0, number)
        connection.exec_driver_sql("UPDATE access_tokens SET expires_at = ? WHERE id = ?", past)
    time.sleep(1.1)  # what was looked up is good for 1 s
    assert httpx.get(f"{whole.url}/v1/me", headers=bearer(token)).status_code == 401
    assert "signed in as ida" not in browser.get("/sign-in").text
    assert "trouble=wrong" in browser.post("/sign-in", data={"token": token}).headers["location"]


def test_signing_out_ends_the_session_not_the_cookie_alone(whole: WholeApp, browser: httpx.Client) -> None:
    browser.post("/sign-in", data={"token": whole.inspector})
    stolen = {COOKIE: browser.cookies[COOKIE]}
    assert httpx.get(whole.url + _IMAGE, cookies=stolen).status_code == 404
    assert browser.post("/sign-out").headers["location"] == "/sign-in"
    assert COOKIE not in browser.cookies
    assert httpx.get(whole.url + _IMAGE, cookies=stolen).status_code == 401
    assert browser.post("/sign-out").status_code == 303, "twice does no harm"


def test_signing_in_anew_ends_the_session_of_before(whole: WholeApp, browser: httpx.Client) -> None:
    browser.post("/sign-in", data={"token": whole.inspector})
    first = {COOKIE: browser.cookies[COOKIE]}
    browser.post("/sign-in", data={"token": whole.operator})
    assert browser.cookies[COOKIE] != first[COOKIE]
    assert httpx.get(whole.url + _IMAGE, cookies=first).status_code == 401


def test_an_admin_ends_somebodys_session(whole: WholeApp, browser: httpx.Client) -> None:
    browser.post("/sign-in", data={"token": whole.token("kai", "viewer")[1]})
    admin = bearer(whole.operator)
    (mine,) = [each for each in httpx.get(f"{whole.url}/v1/sessions", headers=admin).json() if each["person"] == "kai"]
    assert httpx.delete(f"{whole.url}/v1/sessions/{mine['id']}", headers=admin).status_code == 204
    assert "signed in as kai" not in browser.get("/sign-in").text
    assert httpx.delete(f"{whole.url}/v1/sessions/{mine['id']}", headers=admin).status_code == 404
    assert ("operator", "session ended", "kai, viewer") in acts(whole)


def test_another_token_in_the_file_ends_what_the_old_one_opened(whole: WholeApp, browser: httpx.Client) -> None:
    browser.post("/sign-in", data={"token": whole.inspector})
    assert browser.get(_IMAGE).status_code == 404
    file = whole.settings.path(whole.settings.api.inspector_token_file)
    file.write_text("another token of the inspector's\n")
    try:
        time.sleep(1.1)
        assert browser.get(_IMAGE).status_code == 401
        assert httpx.get(f"{whole.url}/v1/review/queue", headers=bearer(whole.inspector)).status_code == 401
        anew = bearer("another token of the inspector's")
        assert httpx.get(f"{whole.url}/v1/review/queue", headers=anew).status_code == 200
        file.unlink()
        time.sleep(1.1)
        assert httpx.get(f"{whole.url}/v1/review/queue", headers=anew).status_code == 401
    finally:
        file.write_text(whole.inspector + "\n")


def test_on_loopback_another_name_is_nobodys(whole: WholeApp) -> None:
    for name in ("evil.example", "127.0.0.1.evil.example", "10.0.0.5", "", "localhost@evil.example", "["):
        for path in ("/healthz", "/sign-in", "/v1/fleet"):
            refused = httpx.get(whole.url + path, headers={"Host": name, **bearer(whole.operator)})
            assert refused.status_code == 421 and "localhost" in refused.json()["detail"]
    for name in ("localhost", "localhost:9", "LOCALHOST", "127.0.0.1", "[::1]:80"):
        assert httpx.get(f"{whole.url}/healthz", headers={"Host": name}).status_code == 200


@settings(max_examples=40)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=';,"\\'), max_size=300))
def test_no_cookie_that_was_not_given_out_opens_anything(whole: WholeApp, cookie: str) -> None:
    with httpx.Client() as client:
        headers = {"Cookie": f"{COOKIE}={cookie}"}
        assert client.get(whole.url + _IMAGE, headers=headers).status_code == 401


@settings(max_examples=40)
@given(
    st.sampled_from([b"", b"Bearer ", b"bearer  ", b"Basic "]),
    st.lists(_BYTES, max_size=300),
)
def test_no_header_that_is_no_token_opens_anything(whole: WholeApp, scheme: bytes, raw: list[int]) -> None:
    with httpx.Client() as client:
        headers = [(b"Authorization", (scheme + bytes(raw)).strip())]
        assert client.get(f"{whole.url}/v1/me", headers=headers).status_code == 401
