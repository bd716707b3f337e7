"""What browsers send while a page is open, held to a size, a rate and a form before NiceGUI reads it.

It comes as Engine.IO packets, which hold Socket.IO's: by websocket, or by POST where a proxy lets no websocket through.
Source: Engine.IO protocol 4 and Socket.IO protocol 5 (socket.io/docs), of which NiceGUI's pages use text alone.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from urllib.parse import parse_qs

import msgspec
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.api.headers import WEBSOCKET_PATH
from cloud.api.limits import RateLimit
from cloud.api.refused_messages import RefusedMessages, Why

MAX_MESSAGE_BYTES = 128 * 1024
"""A page's largest is a table's state, of a few KiB."""

PER_MINUTE = 50 * 60
AT_ONCE = 200
"""Of one connection: a key held down repeats 30 times a second, and a page that opens answers some dozens of questions."""

_BYTES_OF_ONE = 4096
_SEPARATOR = "\x1e"
_MOST_IN_A_BODY = 16
_TOO_LARGE = 1009
_POLICY = 1008
# Closing, pings of the way from polling to a websocket, pongs, and messages: joining, leaving, an event with its number.
_PACKET = re.compile(r"1|2probe|3(?:probe)?|5|4(?:0|1|2\d{0,9}(?P<event>\[.*))", re.DOTALL)


class PageSocket:
    """Lets through what a page may send.

    What is malformed is left out. Who sends too fast is let go (by websocket, after which the page connects anew) or told when to
    come again, and who sends too much at once likewise.

    Args:
        monotonic: seconds that never go back.
        salt: random bytes, 16 to 64.
    """

    def __init__(self, app: ASGIApp, *, refused: RefusedMessages, monotonic: Callable[[], float], salt: bytes) -> None:
        self._app, self._refused, self._monotonic = app, refused, monotonic
        self._rate = RateLimit(PER_MINUTE, salt=salt, at_once=AT_ONCE)
        self._numbers = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"].startswith(WEBSOCKET_PATH):
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith(WEBSOCKET_PATH):
            await self._polling(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        key, over = f"socket {next(self._numbers)}", False

        async def held() -> Message:
            nonlocal over
            while not over:
                message = await receive()
                if message["type"] != "websocket.receive":
                    # The server itself cuts off what is larger than `door` lets it be.
                    if message.get("code") == _TOO_LARGE:
                        self._refused.add(Why.LARGE, f"more than {MAX_MESSAGE_BYTES} bytes")
                    return message
                content = message.get("text")
                size = len(content if content is not None else message.get("bytes") or b"")
                if size > MAX_MESSAGE_BYTES:
                    over = True
                    self._refused.add(Why.LARGE, f"{size} bytes")
                    await _close(send, _TOO_LARGE, "this is too large for a page's message")
                elif self._wait_s(key, size, 1):
                    over = True
                    self._refused.add(Why.FAST, "by websocket")
                    await _close(send, _POLICY, "too many messages; connect again")
                elif content is not None and is_packet(content):
                    return message
                else:
                    self._refused.add(Why.MALFORMED, "no packet of a page")
            return {"type": "websocket.disconnect", "code": _POLICY}

        async def unless_over(message: Message) -> None:
            if not over:
                await send(message)

        await self._app(scope, held, unless_over)

    async def _polling(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, ended = b"", False
        while not ended:
            message = await receive()
            if message["type"] != "http.request":
                await Response(status_code=499)(scope, receive, send)  # to nobody: it hung up
                return
            body, ended = body + message.get("body", b""), not message.get("more_body", False)
            if len(body) > MAX_MESSAGE_BYTES:
                self._refused.add(Why.LARGE, "by POST")
                refused = JSONResponse(
                    {"detail": "this is too large for a page's message"}, 413, {"Connection": "close"}
                )
                await refused(scope, receive, send)
                return
        packets = body.decode("utf-8", "replace").split(_SEPARATOR) if scope["method"] == "POST" else []
        session = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("sid", [""])[0]
        # A number of messages in one body counts as so many.
        if wait_s := self._wait_s(f"session {session}", len(body), max(1, len(packets))):
            self._refused.add(Why.FAST, "by POST")
            seconds = max(1, math.ceil(wait_s))
            detail = f"too many messages; come again in {seconds} s"
            await JSONResponse({"detail": detail}, 429, {"Retry-After": str(seconds)})(scope, receive, send)
            return
        if len(packets) > _MOST_IN_A_BODY or not all(map(is_packet, packets)):
            self._refused.add(Why.MALFORMED, "no packets of a page")
            await JSONResponse({"detail": "this is no message of a page"}, 400)(scope, receive, send)
            return
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)

    def _wait_s(self, key: str, size: int, messages: int) -> float:
        count = min(messages + size // _BYTES_OF_ONE, AT_ONCE)
        return self._rate.take(key, self._monotonic(), count)


def is_packet(text: str) -> bool:
    """Return whether a text is an Engine.IO packet such as pages send, down to the name of its event."""
    found = _PACKET.fullmatch(text)
    if found is None:
        return False
    if (event := found["event"]) is None:
        return True
    try:
        name, *_ = msgspec.json.decode(event, type=list)
    except (ValueError, RecursionError):
        return False
    return isinstance(name, str)


async def _close(send: Send, code: int, reason: str) -> None:
    await send({"type": "websocket.close", "code": code, "reason": reason})
