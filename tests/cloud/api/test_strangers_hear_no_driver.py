"""While the database is away a stranger hears that, and nothing of what its driver says of hosts and files; who is known does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
from fastapi import APIRouter, Depends, Request

from cloud.api.answers import UNUSABLE
from cloud.api.app import make_app
from cloud.api.auth import COOKIE, Guards, Person, Role, Scope
from cloud.api.devices import device_routes
from cloud.api.enrol import renew_routes
from cloud.api.limits import RequestLimits
from cloud.api.people import LATELY_S, People
from cloud.api.sign_in import sign_in_routes
from cloud.store.access import Access
from contract.errors import TransientError
from tests.cloud.api.whole_app import WholeApp, bearer, open_whole_app
from tests.fakes.cloud_tables import T0, Tables

SAYS = 'connection to server at "db.plant.example" (10.1.2.3), port 5432 failed: no route to host'


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeApp]:
    yield from open_whole_app(tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
def test_a_stranger_hears_a_plain_word_of_healthz_and_who_is_known_hears_why(whole: WholeApp) -> None:
    _, viewer = whole.token("vic", "viewer")
    with httpx.Client(base_url=whole.url, timeout=60) as client:
        assert client.post("/sign-in", data={"token": viewer}).status_code == 303
        cookie = {COOKIE: client.cookies[COOKIE]}
        assert client.get("/v1/fleet", headers=bearer(viewer)).status_code == 200
        assert client.get("/review/image/none").status_code in (403, 404)
    file = whole.settings.path("cloud.db")
    elsewhere = file.rename(file.with_name("elsewhere.db"))
    try:
        with httpx.Client(base_url=whole.url, timeout=60) as nobody:
            for headers in ({}, bearer("wrong"), {"Cookie": f"{COOKIE}=wrong"}, bearer(whole.inspector)):
                said = nobody.get("/healthz", headers=headers)
                assert (said.status_code, said.json()) == (503, {"detail": UNUSABLE}), headers
            for headers in (bearer(whole.operator), bearer(viewer), {"Cookie": f"{COOKIE}={cookie[COOKIE]}"}):
                said = nobody.get("/healthz", headers=headers)
                assert said.status_code == 503 and "moved away or deleted" in said.json()["detail"]
            other_site = {"Cookie": f"{COOKIE}={cookie[COOKIE]}", "Sec-Fetch-Site": "cross-site"}
            assert nobody.get("/healthz", headers=other_site).json() == {"detail": UNUSABLE}
        assert httpx.get(f"{whole.devices_url}/healthz", timeout=60).json() == {"detail": UNUSABLE}
    finally:
        elsewhere.rename(file)
    assert httpx.get(f"{whole.url}/healthz", timeout=60).status_code == 200


def test_healthz_asks_no_database_who_it_is_that_asks(tables: Tables) -> None:
    """One that answers nothing would keep it from saying so."""
    at = [1000.0]

    class Unreached(Access):
        def token(self, token: str, now: float) -> None:
            raise AssertionError("asked")

        session = token  # type: ignore[assignment]

    real = People(
        Access(tables.database), (), new_secret=lambda: "s" * 40, session_s=9e9, now=lambda: T0, monotonic=lambda: at[0]
    )
    Access(tables.database).add_token("its token", "vic", "viewer", "eva", T0, None)
    assert real.by_token("its token") == Person("vic", Role.VIEWER)
    real._access = Unreached(tables.database)
    guards = Guards(real.by_token, remembered=real.remembered)
    may_know = lambda request: guards.knows_already(request, Scope.READ)  # noqa: E731
    app = make_app([], None, None, lambda: SAYS, may_know)

    def healthz(headers: dict[str, str]) -> str:
        async def ask() -> str:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                answer = await client.get("/healthz", headers=headers)
                assert answer.status_code == 503
                return str(answer.json()["detail"])

        return asyncio.run(ask())

    assert healthz({}) == healthz(bearer("another")) == UNUSABLE
    assert healthz(bearer("its token")) == healthz({"Authorization": "bearer  its token "}) == SAYS
    at[0] += LATELY_S
    assert healthz(bearer("its token")) == UNUSABLE


def test_without_anybody_to_know_nobody_is_told() -> None:
    request = Request({"type": "http", "method": "GET", "path": "/healthz", "headers": [], "scheme": "http"})
    assert Guards(lambda _token: None).knows_already(request, Scope.READ) is False


def test_who_cannot_be_looked_up_hears_no_more_at_any_door() -> None:
    class Cut(Access):
        """Every look fails, as it does when PostgreSQL's host is gone."""

        def __init__(self) -> None: ...

        def token(self, *_: object) -> NoReturn:
            raise TransientError(f"the database did not take it: {SAYS}", hint="it is tried again")

        session = sign_out = token

    def cut(*_: object) -> NoReturn:
        Cut().token()

    people = People(Cut(), (), new_secret=lambda: "s", session_s=1.0, now=lambda: T0, monotonic=lambda: 0.0)
    limits = RequestLimits(1000, 1000, monotonic=lambda: 0.0, salt=b"0123456789abcdef")
    guards = Guards(people.by_token, lambda request: people.by_cookie(request.cookies[COOKIE]), limits)
    guarded = APIRouter()

    @guarded.get("/v1/seen", dependencies=[Depends(guards.needs(Scope.READ, from_pages=True))])
    def seen() -> str:
        return "never"

    stations = device_routes(
        tuf_folder=Path("nowhere"), is_token=cut, samples=None, images=None, opinions=None, desired_of=cut,
        take_report=cut, now=lambda: T0,
    )  # type: ignore[arg-type]  # fmt: skip
    sign_in = sign_in_routes(people=people, page=lambda _view: "", limits=limits, tries=None)  # type: ignore[arg-type]
    app = make_app([guarded, stations, sign_in, renew_routes(None, cut)])  # type: ignore[arg-type]
    shown, cookie = bearer("a token"), {"Cookie": f"{COOKIE}=a-session"}

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return [
                await client.get("/v1/seen", headers=shown),
                await client.get("/v1/seen", headers=cookie),
                await client.get("/sign-in", headers=cookie),
                await client.post("/sign-in", data={"token": "a token"}),
                await client.post("/sign-out", headers=cookie),
                await client.get("/v1/orders/line1", headers=shown),
                await client.post("/v1/reports/line1", content=b"{}", headers=shown),
                await client.post("/v1/fallback/line1", content=b"x", headers=shown),
                await client.post("/v1/samples/line1/x", content=b"x", headers=shown),
                await client.post("/v1/renew/line1", content=b"{}", headers=shown),
            ]

    for answer in asyncio.run(ask()):
        assert (answer.status_code, answer.json()) == (503, {"detail": UNUSABLE}), answer.url
        assert answer.headers["Retry-After"]
