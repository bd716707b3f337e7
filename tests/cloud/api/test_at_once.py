"""How many requests of one person are answered at once, over HTTP: their slow ones must leave threads to everybody else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi import APIRouter, Depends
from hypothesis import given
from hypothesis import strategies as st

from cloud.api.app import make_app
from cloud.api.at_once import MOST_AT_ONCE, AtOnce
from cloud.api.auth import Guards, Person, Role, Scope
from cloud.api.limits import RequestLimits
from tests.cloud.api.conftest import serve
from tests.cloud.api.whole_app import bearer
from tests.fakes.file_tokens import file_tokens

EVA, OLE = "eva's token", "ole's token"


class Slow:
    """A server with a route that answers when it is told to."""

    def __init__(self) -> None:
        self.over, self.begun = threading.Event(), threading.Semaphore(0)
        limits = RequestLimits(100_000, 100, monotonic=time.monotonic, salt=b"0123456789abcdef")
        people = file_tokens({Person("eva", Role.VIEWER): EVA, Person("ole", Role.VIEWER): OLE})
        guards, routes = Guards(people, limits=limits), APIRouter()

        @routes.get("/v1/slow", dependencies=[Depends(guards.needs(Scope.READ)), Depends(guards.known)])
        def slow() -> bool:
            self.begun.release()
            return self.over.wait(60)

        @routes.get("/v1/fails", dependencies=[Depends(guards.known)])
        def fails() -> None:
            raise RuntimeError("a fault")

        @routes.get("/v1/quick", dependencies=[Depends(guards.known)])
        def quick() -> bool:
            return True

        self._served = serve(make_app([routes]))
        self.url = next(self._served)

    def get(self, path: str, token: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=bearer(token), timeout=60)

    def wait_begun(self, count: int) -> None:
        for _ in range(count):
            assert self.begun.acquire(timeout=60)

    def end(self) -> None:
        self.over.set()
        next(self._served, None)


@pytest.fixture
def slow() -> Iterator[Slow]:
    made = Slow()
    yield made
    made.end()


def test_who_asks_too_much_at_once_is_told_when_to_come_again_and_nobody_else_waits(slow: Slow) -> None:
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        asked = [pool.submit(slow.get, "/v1/slow", EVA) for _ in range(MOST_AT_ONCE)]
        slow.wait_begun(MOST_AT_ONCE)
        refused = slow.get("/v1/quick", EVA)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json() == {"detail": "too many of your requests are being answered right now; come again in 1 s"}
        assert slow.get("/v1/quick", OLE).status_code == 200
        slow.over.set()
        assert {each.result().status_code for each in asked} == {200}
    assert slow.get("/v1/quick", EVA).status_code == 200


def test_requests_that_end_in_a_fault_are_over_too(slow: Slow) -> None:
    codes = [slow.get("/v1/fails", EVA).status_code for _ in range(MOST_AT_ONCE + 2)]
    assert codes == [500] * (MOST_AT_ONCE + 2)
    assert slow.get("/v1/quick", EVA).status_code == 200


def test_who_hangs_up_is_still_being_answered_until_the_work_is_over(slow: Slow) -> None:
    port = int(slow.url.rsplit(":", 1)[1])
    for _ in range(MOST_AT_ONCE):
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(f"GET /v1/slow HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {EVA}\r\n\r\n".encode())
            slow.wait_begun(1)
    assert slow.get("/v1/quick", EVA).status_code == 429
    slow.over.set()
    until = time.monotonic() + 60
    while slow.get("/v1/quick", EVA).status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.02)


@given(st.lists(st.tuples(st.sampled_from(["eva", "ole", "ina"]), st.booleans())), st.integers(1, 4))
def test_never_more_than_the_most_of_one_and_nothing_is_kept_of_who_left(
    acts: list[tuple[str, bool]], most: int
) -> None:
    at_once = AtOnce(most)
    inside: dict[str, list[list[Callable[[], None]]]] = {}
    for name, comes in acts:
        here = inside.setdefault(name, [])
        if comes:
            leaving: list[Callable[[], None]] = []
            scope = {"plumbline.leave": leaving}
            assert at_once.enter(name, scope) is (len(here) < most)
            if leaving:
                here.append(leaving)
                assert at_once.enter(name, scope), "asked twice by the same request"
                assert len(leaving) == 1
        elif here:
            for leave in here.pop():
                leave()
    for here in inside.values():
        for leaving in here:
            for leave in leaving:
                leave()
    assert not at_once._now
