"""The HTTP application: every route in one place to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI, HTTPException, Request

import cloud
from cloud.api.answers import RESPONSES, UNUSABLE, install_answers
from cloud.api.at_once import LeaveAtEnd
from cloud.api.body_limit import BodyLimit
from cloud.api.headers import PeoplesDoor
from cloud.api.metrics import RequestMeter

STATION_PATHS = tuple(f"/v1/{each}" for each in ("tuf/", "orders/", "reports/", "fallback/", "samples/", "renew/"))
"""What stations ask. Their routes have limits of their own, and no browser reads the answers."""

_ABOUT = """Everything that people do to a fleet of stations, and what stations ask of the cloud.

People show a token (`Authorization: Bearer ...`), which `plumbline-cloud token add NAME --role ROLE` makes; what each role may do
is in each route's 403. Whatever is wrong is answered as `{"detail": "what it is and what to do"}`.
"""


@dataclass(frozen=True, slots=True)
class DoorRules:
    """What holds where people's browsers come in; see `PeoplesDoor`."""

    only_loopback: bool = False
    also_names: frozenset[str] = frozenset()
    count_address: Callable[[str], None] | None = None


def make_app(
    routers: Sequence[APIRouter],
    people: DoorRules | None = None,
    answered: Callable[[str, str, int, float], None] | None = None,
    why_unwell: Callable[[], str] = str,
    may_know: Callable[[Request], bool] = lambda _request: False,
) -> FastAPI:
    """Return the application.

    Args:
        routers: the parts of the API.
        people: what holds for browsers; None for a door that only stations reach.
        answered: told (method, route, status, seconds) of every request that ended.
        why_unwell: says at once why /healthz is to be 503, "" for no reason. What it says may name hosts and files.
        may_know: says at once whether who asks is told that; anybody else hears that the database cannot be used.
    """
    app = FastAPI(
        title="Plumbline cloud",
        description=_ABOUT,
        version=cloud.__version__,
        # FastAPI's page of the API is a script from another machine; what it would show is in openapi.json.
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        responses=RESPONSES,
    )
    install_answers(app)

    # Not in a thread: whether this lives must be told while every thread is busy with what somebody asked.
    @app.get("/healthz", responses={503: RESPONSES[503]}, tags=["server"])
    async def healthz(request: Request) -> dict[str, str]:
        if why := why_unwell():
            raise HTTPException(503, why if may_know(request) else UNUSABLE)
        return {"status": "ok"}

    # Whoever starts a server again that does not answer must not do so for a database that is away.
    @app.get("/livez", tags=["server"])
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    for router in routers:
        app.include_router(router)
    app.add_middleware(BodyLimit, free=STATION_PATHS)
    app.add_middleware(LeaveAtEnd)
    if people is not None:
        app.add_middleware(
            PeoplesDoor,
            only_loopback=people.only_loopback,
            also_names=people.also_names,
            count_address=people.count_address,
            free=("/v1/",),
        )
    if answered is not None:
        app.add_middleware(RequestMeter, answered=answered)
    return app
