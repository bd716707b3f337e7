"""The dashboard's pages on the API's own application."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import nicegui
from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.routing import APIRoute
from nicegui import core, ui
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.api.headers import WEBSOCKET_PATH
from cloud.api.page_socket import PageSocket
from cloud.api.refused_messages import RefusedMessages
from cloud.api.sign_in_first import SignInFirst
from cloud.dashboard.page_events import hold_events
from cloud.dashboard.shell import Shell

# What pages are made of, and how they speak.
_PARTS = ("/_nicegui/", WEBSOCKET_PATH, "/favicon.ico")
# Its address changes with NiceGUI's version.
_NICEGUIS_OWN: tuple[object, ...] = (GZipMiddleware,)
_KEPT = f"/_nicegui/{nicegui.__version__}/"
_NOT_KEPT = f"{_KEPT}dynamic_resources/"


@dataclass(frozen=True, slots=True)
class PageDoor:
    """What stands before the pages. `monotonic`: seconds that never go back; `salt`: random bytes, 16 to 64."""

    shell: Shell
    refused: RefusedMessages
    monotonic: Callable[[], float]
    salt: bytes


def install_dashboard(app: FastAPI, door: PageDoor, pages: Sequence[Callable[[], None]]) -> None:
    """Put pages on `app`: each of `pages` registers its own with `ui.page`."""
    for page in pages:
        page()
    # Before the pages, which answer every other path: with a page of many kilobytes, where a program expects a line of JSON.
    app.mount("/v1", _nothing_there)
    ui.run_with(app, title="Plumbline", language="en-US", dark=None, show_welcome_message=False)
    hold_events(door.refused, door.monotonic)
    # NiceGUI's own wait for an answer in a task beside it, and raise where the browser left before there was one. The outermost
    # comes first.
    core.app.user_middleware[:] = [
        Middleware(
            SignInFirst, looker=lambda request: door.shell.visit(request).person, is_page=_is_page, is_free=_is_part
        ),
        Middleware(PageSocket, refused=door.refused, monotonic=door.monotonic, salt=door.salt),
        Middleware(KeptParts, directives=core.app.config.cache_control_directives),
        *[each for each in core.app.user_middleware if each.cls in _NICEGUIS_OWN][:1],
    ]


class KeptParts:
    """Has browsers keep what pages are made of."""

    def __init__(self, app: ASGIApp, directives: str) -> None:
        self._app, self._header = app, (b"cache-control", directives.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        kept = scope["type"] == "http" and path.startswith(_KEPT) and not path.startswith(_NOT_KEPT)

        async def keeping(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [each for each in message.get("headers", []) if each[0].lower() != self._header[0]]
                message["headers"] = [*others, self._header]
            await send(message)

        await self._app(scope, receive, keeping if kept else send)


def _is_page(scope: Scope) -> bool:
    return any(isinstance(route, APIRoute) and route.matches(scope)[0] is not Match.NONE for route in core.app.routes)


def _is_part(scope: Scope) -> bool:
    # What is not there is not free either: for that too NiceGUI draws a page.
    return scope["path"].startswith(_PARTS) and any(
        route.matches(scope)[0] is not Match.NONE for route in core.app.routes
    )


async def _nothing_there(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        what = f"there is no {scope['method']} {scope['path'][:200]!a} here; /v1/openapi.json says what there is"
        await JSONResponse({"detail": what}, 404)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
