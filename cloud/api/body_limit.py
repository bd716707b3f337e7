"""Bodies that are too large, refused before they are read whole."""

from __future__ import annotations

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A configuration for 10,000 stations by name, and then some.
MAX_JSON_BYTES = 1024 * 1024
_TOO_LARGE = "a request may have at most 1 MiB"


class BodyLimit:
    """Lets bodies of up to `max_bytes` through, save on paths that begin with one of `free`, whose routes have their own."""

    def __init__(self, app: ASGIApp, *, max_bytes: int = MAX_JSON_BYTES, free: tuple[str, ...] = ()) -> None:
        self._app, self._max_bytes, self._free = app, max_bytes, free

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(self._free):
            await self._app(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._max_bytes:
                # FastAPI lets it through from where it reads the body, and answers.
                raise HTTPException(413, _TOO_LARGE)
            return message

        stated = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if stated.isdigit() and (len(stated) > 12 or int(stated) > self._max_bytes):
            await _refuse(send)
            return
        await self._app(scope, counted, send)


async def _refuse(send: Send) -> None:
    body = b'{"detail":"' + _TOO_LARGE.encode() + b'"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    # Whatever is still on its way would be taken for the next request.
    await send({"type": "http.response.start", "status": 413, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
