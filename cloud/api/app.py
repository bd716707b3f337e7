"""The HTTP application: every route in one place to read."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter, FastAPI, Request, Response

import cloud


def make_app(routers: Sequence[APIRouter], page_password: str | None) -> FastAPI:
    """Return the application.

    Args:
        routers: the parts of the API.
        page_password: what the dashboard's pages ask for (HTTP Basic, any user name), None to leave them open (loopback).
            The API's own routes check their bearer tokens whatever this is.
    """
    app = FastAPI(
        title="Plumbline cloud",
        version=cloud.__version__,
        docs_url="/v1/docs",
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    for router in routers:
        app.include_router(router)

    if page_password is not None:
        expected = page_password.encode()

        @app.middleware("http")
        async def guard_pages(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
            path = request.url.path
            if path.startswith("/v1/") or path == "/healthz" or _has_password(request, expected):
                return await call_next(request)
            challenge = {"WWW-Authenticate": 'Basic realm="Plumbline: the operator token is the password"'}
            return Response("the operator's token is the password", status_code=401, headers=challenge)

    return app


def _has_password(request: Request, expected: bytes) -> bool:
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        _, _, password = base64.b64decode(encoded, validate=True).partition(b":")
    except ValueError:
        return False
    return hmac.compare_digest(password, expected)
