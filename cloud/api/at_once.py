"""How many requests of one person are answered at once: each may hold a thread, and there are forty for all who ask."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

MOST_AT_ONCE = 16
"""A browser asks for six things at once, and a person may have two; of the forty threads the others then keep more than half."""

_LEAVE = "plumbline.leave"


class AtOnce:
    """Counts who is being answered. Thread-safe; remembers nobody who is not."""

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._now: Counter[str] = Counter()

    def enter(self, name: str, scope: MutableMapping[str, Any]) -> bool:
        """Count the request of `scope` until `LeaveAtEnd` ends it, once however often this is called.

        Return False, and count nothing, where there are too many of `name` already.
        """
        leaving: list[Callable[[], None]] | None = scope.get(_LEAVE)
        if leaving is None or leaving:
            return True
        with self._lock:
            if self._now[name] >= self._most:
                return False
            self._now[name] += 1
        leaving.append(lambda: self._leave(name))
        return True

    def _leave(self, name: str) -> None:
        with self._lock:
            self._now[name] -= 1
            if not self._now[name]:
                del self._now[name]


class LeaveAtEnd:
    """Ends what a request entered, when its answer is out or its work is over: a client that hung up frees no thread."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving: list[Callable[[], None]] = []
        scope[_LEAVE] = leaving
        try:
            await self._app(scope, receive, send)
        finally:
            for leave in leaving:
                leave()
