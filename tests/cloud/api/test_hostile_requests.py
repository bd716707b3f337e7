"""Bodies, sizes, rates and headers that no well-meaning client sends, against the real application over HTTP."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi import APIRouter
from nicegui import Client

from cloud.api.app import make_app
from tests.cloud.api.conftest import serve
from tests.cloud.api.whole_app import WholeApp, bearer, open_whole_app


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeApp]:
    yield from open_whole_app(tmp_path_factory.mktemp("whole"))


def post(whole: WholeApp, path: str, body: bytes | Iterator[bytes]) -> httpx.Response:
    headers = {**bearer(whole.operator), "Content-Type": "application/json"}
    return httpx.post(whole.url + path, content=body, headers=headers, timeout=30)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"person":' * 50_000,
        b'{"person": "a", "role": "viewer", "days": NaN}',
        b'{"person": "a", "role": "viewer", "days": Infinity}',
        b'{"person": "a", "role": "viewer", "days": 1e999}',
        b'{"person": "a", "role": "viewer", "days": ' + b"9" * 5000 + b"}",
        b'{"person": "a\\u0000b", "role": "viewer"}',
        b'{"person": "\\ud800", "role": "viewer"}',
        b'{"person": "a\\nb", "role": "viewer"}',
        b'{"person": "\\u202eadmin", "role": "viewer"}',
        b'{"person": "<script>", "role": "viewer"}',
        b'{"person": "=cmd|calc", "role": "viewer"}',
        b'{"person": "plumbline", "role": "viewer"}',
        b'{"person": "Visitor", "role": "viewer"}',
        b'{"person": "a", "role": "emperor"}',
        b'{"person": "a", "role": "viewer", "days": -1}',
        b'{"person": "a", "role": "viewer", "admin": true}',
        b"\xff\xfe",
        b"",
    ],
)
def test_a_body_that_is_none_is_refused_in_a_line_and_makes_nothing(whole: WholeApp, body: bytes) -> None:
    before = whole.tables.access.tokens()
    answer = post(whole, "/v1/tokens", body)
    assert answer.status_code in (400, 422), answer.text
    detail = answer.json()["detail"]
    assert isinstance(detail, str) and len(detail) < 1200 and detail.isprintable()
    assert whole.tables.access.tokens() == before


def test_a_name_is_as_people_write_it(whole: WholeApp) -> None:
    for name in ("Eva Müller", "o'neil", "李雷", "eva@plant.example", "j.-p. dupont jr."):
        assert post(whole, "/v1/tokens", json.dumps({"person": name, "role": "viewer"}).encode()).status_code == 201


def test_a_body_too_large_is_refused_before_it_is_read(whole: WholeApp) -> None:
    with socket.create_connection(("127.0.0.1", int(whole.url.rsplit(":", 1)[1]))) as line:
        line.sendall(
            b"POST /v1/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999999\r\n"
            b"Content-Type: application/json\r\n\r\n{"
        )
        line.settimeout(60)
        assert line.recv(4096).startswith(b"HTTP/1.1 413 ")

    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 1
            yield b" " * 65_536

    try:
        answer = post(whole, "/v1/tokens", chunks())
        assert answer.status_code == 413 and answer.json() == {"detail": "a request may have at most 1 MiB"}
    except (httpx.WriteError, httpx.ReadError):
        assert sent < 64, "the line is cut while the body is on its way"
    names = [f"s{number}" for number in range(10_000)]
    most = json.dumps({"stations": names, "settings": "", "reason": "x"}).encode()
    assert post(whole, "/v1/configurations", most).status_code not in (413, 500)


@pytest.mark.parametrize("asked", ["GET /v1/nowhere", "DELETE /v1/fleet", "GET /v1/", "PATCH /v1/a/b/c"])
def test_a_path_of_the_api_that_is_none_is_told_in_a_line_and_no_page_is_made_of_it(
    whole: WholeApp, asked: str
) -> None:
    before, (method, path) = len(Client.instances), asked.split(" ")
    answer = httpx.request(method, whole.url + path, headers=bearer(whole.operator))
    assert answer.status_code == 404 and "/v1/openapi.json says" in answer.json()["detail"]
    assert len(Client.instances) == before and answer.json()["detail"].isprintable()


def test_stations_have_limits_of_their_own(whole: WholeApp) -> None:
    image = b"\x89PNG" + b"x" * (3 * 1024 * 1024)
    answer = httpx.post(f"{whole.devices_url}/v1/samples/line1/x0", content=image, headers=bearer("token of line1"))
    assert answer.status_code == 422
    report = httpx.post(f"{whole.devices_url}/v1/reports/line1", content=image, headers=bearer("token of line1"))
    assert report.status_code == 413 and "64 KiB" in report.json()["detail"]


def test_every_answer_tells_browsers_what_they_may_do(whole: WholeApp) -> None:
    for path, code in (
        ("/sign-in", 200),
        ("/v1/fleet", 401),
        ("/nowhere", 404),
        ("/healthz", 200),
        ("/v1/nowhere", 404),
    ):
        answer = httpx.get(whole.url + path)
        assert answer.status_code == code
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert "camera=()" in answer.headers["permissions-policy"]
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1:1"]
)
def test_no_other_sites_page_reaches_the_websocket(whole: WholeApp, origin: str) -> None:
    polling = "/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    assert httpx.get(whole.url + polling, headers={"Origin": origin}).status_code == 403
    upgrade = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": origin,
    }  # fmt: skip
    assert httpx.get(whole.url + polling.replace("polling", "websocket"), headers=upgrade).status_code == 403


def test_wrong_tokens_are_looked_at_for_a_while_and_good_ones_beside_them_always(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    config = "\n[auth]\nfailures_per_minute = 5\nrequests_per_minute = 40\n"
    opened = open_whole_app(tmp_path_factory.mktemp("limited"), config)
    whole = next(opened)
    assert httpx.get(f"{whole.url}/v1/me", headers=bearer(whole.operator)).status_code == 200
    codes = [httpx.get(f"{whole.url}/v1/me", headers=bearer(f"wrong {n}")).status_code for n in range(7)]
    assert codes == [401] * 5 + [429] * 2
    refused = httpx.get(f"{whole.url}/v1/me", headers=bearer("wrong"))
    assert 1 <= int(refused.headers["retry-after"]) <= 12 and "wrong tokens" in refused.json()["detail"]
    page = httpx.post(f"{whole.url}/sign-in", data={"token": "wrong too"})
    assert page.status_code == 429 and "retry-after" in page.headers and "Too many wrong tokens" in page.text
    assert httpx.get(f"{whole.url}/v1/me", headers=bearer(whole.inspector)).status_code == 429, "never seen from there"
    assert 38 <= _let_through(f"{whole.url}/v1/me", whole.operator) < 300, "and then a person has asked too much"
    assert 38 <= _let_through(f"{whole.url}/sign-in", "") < 300
    assert {httpx.get(f"{whole.url}/healthz").status_code for _ in range(5)} == {200}
    station = bearer("token of line1")
    codes = [httpx.get(f"{whole.devices_url}/v1/orders/line1", headers=station).status_code for _ in range(60)]
    assert set(codes) == {200}, "stations have their own admission"
    next(opened, None)


def _let_through(url: str, token: str) -> int:
    """Return how many requests in a row were answered before one was too many; 300 where none was."""
    with httpx.Client() as client:
        for count in range(300):
            if client.get(url, headers=bearer(token) if token else {}).status_code == 429:
                return count
    return 300


def test_a_database_that_is_away_is_503_and_lets_nobody_in(whole: WholeApp) -> None:
    _, token = whole.token("eva", "viewer")
    with whole.tables.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE access_tokens RENAME TO access_tokens_away")
    try:
        answer = httpx.get(f"{whole.url}/v1/me", headers=bearer(token))
        assert answer.status_code in (500, 503)
        began = time.monotonic()
        assert httpx.get(f"{whole.url}/v1/me", headers=bearer(whole.operator)).status_code == 200, "from its file"
        assert time.monotonic() - began < 30.0
    finally:
        with whole.tables.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE access_tokens_away RENAME TO access_tokens")
    assert httpx.get(f"{whole.url}/v1/me", headers=bearer(token)).status_code == 200


def test_whether_it_lives_is_told_while_every_thread_is_busy_with_what_somebody_asked() -> None:
    routes, over = APIRouter(), threading.Event()

    @routes.get("/v1/slow")
    def slow() -> bool:
        return over.wait(60)

    served = serve(make_app([routes]))
    url = next(served)
    with ThreadPoolExecutor(60) as pool:
        asked = [pool.submit(httpx.get, f"{url}/v1/slow", timeout=60) for _ in range(60)]
        time.sleep(1.0)
        try:
            assert httpx.get(f"{url}/healthz", timeout=30).status_code == 200
        finally:
            over.set()
        assert {each.result().status_code for each in asked} == {200}
    next(served, None)
