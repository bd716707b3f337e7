"""The dashboard's pages on the API's own application."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.routing import APIRoute
from nicegui import core, ui
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from cloud.api.headers import WEBSOCKET_PATH
from cloud.api.page_socket import PageSocket
from cloud.api.refused_messages import RefusedMessages
from cloud.api.sign_in_first import SignInFirst
from cloud.dashboard.page_events import hold_events
from cloud.dashboard.shell import Shell

# What pages are made of, and how they speak.
_PARTS = ("/_nicegui/", WEBSOCKET_PATH, "/favicon.ico")
_OURS: tuple[object, ...] = (SignInFirst, PageSocket)


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
    # The outermost comes first.
    core.app.user_middleware[:] = [
        Middleware(
            SignInFirst, looker=lambda request: door.shell.visit(request).person, is_page=_is_page, is_free=_is_part
        ),
        Middleware(PageSocket, refused=door.refused, monotonic=door.monotonic, salt=door.salt),
        *[each for each in core.app.user_middleware if each.cls not in _OURS],
    ]


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
