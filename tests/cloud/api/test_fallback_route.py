"""The door for second opinions over HTTP: deadlines in headers, refusals that say when to ask again."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from agent.uplink.fallback import WITHIN_HEADER
from cloud.api.remembered_tokens import RememberedTokens
from tests.cloud.api.conftest import Api

S1 = "token of s1"
BUNDLE = {"X-Plumbline-Bundle": "d" * 64}


def test_a_station_says_how_long_it_waits(api: Api, png: Callable[..., bytes]) -> None:
    for within in ("9000", "100000000", "9" * 400):
        answer = api.post("/v1/fallback/s1", S1, content=png(255), headers={**BUNDLE, WITHIN_HEADER: within})
        assert answer.json()["label"] == "good"
    for nonsense in ("soon", "0", "-5", "1.5"):
        answer = api.post("/v1/fallback/s1", S1, content=png(), headers={**BUNDLE, WITHIN_HEADER: nonsense})
        assert answer.status_code == 422


def test_what_cannot_be_done_in_time_is_refused_without_waiting_for_the_image(api: Api) -> None:
    at = urlsplit(api.url)
    assert api.post("/v1/fallback/s1", S1, content=b"no image", headers=BUNDLE).status_code == 422  # it is loaded now
    head = (
        f"POST /v1/fallback/s1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {S1}\r\nContent-Length: 1000000\r\n"
        f"X-Plumbline-Bundle: {'d' * 64}\r\n{WITHIN_HEADER}: 1\r\n\r\n"
    )
    with socket.create_connection((at.hostname or "", at.port or 0), timeout=60) as connection:
        connection.sendall(head.encode())  # and not a byte of the image
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in answer.lower()


def test_the_station_that_hangs_up_leaves_nothing_behind(api: Api, png: Callable[..., bytes]) -> None:
    at = urlsplit(api.url)
    head = (
        f"POST /v1/fallback/s1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {S1}\r\nContent-Length: 1000000\r\n"
        f"X-Plumbline-Bundle: {'d' * 64}\r\n\r\n"
    )
    for _ in range(10):
        with socket.create_connection((at.hostname or "", at.port or 0), timeout=60) as connection:
            connection.sendall(head.encode() + bytes(1000))
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if api.post("/v1/fallback/s1", S1, content=png(255), headers=BUNDLE).status_code == 200:
            return
    raise AssertionError("the door stays shut")


def test_the_interface_says_what_a_refusal_means(api: Api) -> None:
    route = api.get("/v1/openapi.json", None).json()["paths"]["/v1/fallback/{station}"]["post"]
    assert {"200", "401", "404", "413", "422", "503"} <= route["responses"].keys()
    assert "Retry-After" in route["responses"]["503"]["description"]


def test_a_token_is_looked_up_once_in_a_while_and_a_wrong_one_always() -> None:
    asyncio.run(_looked_up())


async def _looked_up() -> None:
    asked: list[str] = []
    now = [0.0]

    def is_token(station: str, token: str) -> bool:
        asked.append(station)
        return token == f"token of {station}" and now[0] < 7.0

    remembered = RememberedTokens(is_token, lambda: now[0])
    assert [await remembered.is_token("s1", "token of s1") for _ in range(3)] == [True] * 3
    assert [await remembered.is_token("s2", "token of s1") for _ in range(2)] == [False] * 2
    assert asked == ["s1", "s2", "s2"]
    now[0] = 4.9
    assert await remembered.is_token("s1", "token of s1") and len(asked) == 3
    now[0] = 7.5  # it was taken back
    assert not await remembered.is_token("s1", "token of s1")
    now[0] = 2.0  # a clock set back
    assert await remembered.is_token("s1", "token of s1")
