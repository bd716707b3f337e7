"""What browsers are told with every answer, and whose pages may talk to this server at all."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.api.local import host_name, is_loopback_name, is_own_page

# Nothing may leave the machine or come from elsewhere. NiceGUI writes scripts and styles into its pages ('unsafe-inline'), and Vue
# compiles the templates of tables in the browser ('unsafe-eval'): what keeps hostile names from being scripts is that pages never
# put text where HTML is read.
_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_ALWAYS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", _CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Not "no-referrer": a browser would then send "Origin: null" with our own forms.
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_HSTS = (b"strict-transport-security", b"max-age=31536000")
_NO_STORE = (b"cache-control", b"no-store")

WEBSOCKET_PATH = "/_nicegui_ws/"
_ASSETS = "/_nicegui/"


class PeoplesDoor:
    """Stands before everything that people's browsers reach.

    Args:
        only_loopback: the server listens on loopback alone, so a request for another name than this machine's (save
            `also_names`) is a page's of somebody else whose name was made to lead here.
        count_address: refuses an address that asks too much (HTTPException 429).
        free: paths whose requests are not counted here: stations', and the API's, which counts people.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        only_loopback: bool,
        also_names: frozenset[str] = frozenset(),
        count_address: Callable[[str], None] | None = None,
        free: tuple[str, ...] = (),
    ) -> None:
        self._app, self._only_loopback, self._also = app, only_loopback, also_names
        self._count_address, self._free = count_address, (_ASSETS, "/healthz", "/livez", *free)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        secure = scope["scheme"] in ("https", "wss")
        path: str = scope["path"]
        private = not path.startswith(_ASSETS)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.setdefault("headers", [])
                names = {name.lower() for name, _ in given}
                for each in (*_ALWAYS, *([_HSTS] if secure else ()), *([_NO_STORE] if private else ())):
                    if each[0] not in names:
                        given.append(each)
            await send(message)

        refused = self._refusal(scope, path)
        if refused is None:
            await self._app(scope, receive, with_headers)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        else:
            answer = JSONResponse({"detail": refused.detail}, refused.status_code, refused.headers)
            await answer(scope, receive, with_headers)

    def _refusal(self, scope: Scope, path: str) -> HTTPException | None:
        headers = Headers(scope=scope)
        if self._only_loopback:
            name = host_name(headers.get("host", ""))
            if not is_loopback_name(name) and name not in self._also:
                return HTTPException(
                    421, "ask for this server by the name localhost, or set [api] public_url in cloud.toml"
                )
        # A page's websocket does what its buttons do, so no other site's page may open one.
        if path.startswith(WEBSOCKET_PATH) and not is_own_page(headers, scope["scheme"]):
            return HTTPException(403, "this is no page of this server")
        if self._count_address is not None and not path.startswith(self._free):
            client = scope.get("client")
            try:
                self._count_address(client[0] if client else "")
            except HTTPException as error:
                return error
        return None
