"""Strangers are sent to the sign-in page before a page is drawn for them: drawing costs ten times as much as sending them on."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cloud.api.auth import COOKIE, Person
from cloud.api.sign_in import safe_next


class SignInFirst:
    """Lets whoever is known on to the pages, and everybody to what pages are made of.

    Args:
        looker: who looks at a page with this request; None for nobody.
        is_page: whether a request asks for a page that there is.
        is_free: whether it asks for what is nobody's secret, such as the pages' scripts.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        looker: Callable[[Request], Person | None],
        is_page: Callable[[Scope], bool],
        is_free: Callable[[Scope], bool],
    ) -> None:
        self._app, self._looker, self._is_page, self._is_free = app, looker, is_page, is_free

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_free(scope) or await self._is_known(scope):
            await self._app(scope, receive, send)
            return
        answer: Response
        if scope["method"] in ("GET", "HEAD") and self._is_page(scope):
            answer = RedirectResponse(f"/sign-in?next={quote(_asked(scope), safe='/')}", 303)
        else:
            answer = JSONResponse({"detail": "there is nothing here for who has not signed in; open /sign-in"}, 404)
        await answer(scope, receive, send)

    async def _is_known(self, scope: Scope) -> bool:
        request = Request(scope)
        if not request.cookies.get(COOKIE):
            return self._looker(request) is not None
        # A cookie is looked up in the database, for which nobody else is to wait.
        return await run_in_threadpool(self._looker, request) is not None


def _asked(scope: Scope) -> str:
    """Return what was asked for, as a path of this server with its query; "/" where it is no safe one."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    query: bytes = scope.get("query_string", b"")
    return safe_next((raw + (b"?" + query if query else b"")).decode("latin-1"))
