"""The dashboard's pages on the API's own application."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import FastAPI
from nicegui import ui
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send


def install_dashboard(app: FastAPI, pages: Sequence[Callable[[], None]]) -> None:
    """Put pages on `app`: each of `pages` registers its own with `ui.page`."""
    for page in pages:
        page()
    # Before the pages, which answer every other path: with a page of many kilobytes, where a program expects a line of JSON.
    app.mount("/v1", _nothing_there)
    ui.run_with(app, title="Plumbline", language="en-US", dark=None, show_welcome_message=False)


async def _nothing_there(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        what = f"there is no {scope['method']} {scope['path'][:200]!a} here; /v1/openapi.json says what there is"
        await JSONResponse({"detail": what}, 404)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
