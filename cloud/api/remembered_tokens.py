"""Stations whose tokens were just found right: under load a question is refused in less time than the database takes to look.

So a token that is the station's no more still gets second opinions for `KEPT_S`, and nothing else (deploy/README.md, "Keys, tokens
and certificates"); a station's certificate that was revoked is refused at once, before this is asked (`cloud.api.doors`).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from fastapi.concurrency import run_in_threadpool

KEPT_S = 5.0
_MOST = 20_000


class RememberedTokens:
    """Asks `is_token` again after `keep_s`: a token that was taken back works for so long. One event loop's."""

    def __init__(self, is_token: Callable[[str, str], bool], now: Callable[[], float], keep_s: float = KEPT_S) -> None:
        self._is_token, self._now, self._keep_s = is_token, now, keep_s
        self._right: OrderedDict[tuple[str, bytes], float] = OrderedDict()

    async def is_token(self, station: str, token: str) -> bool:
        """Return whether `token` is this station's, or was `keep_s` ago. A wrong one is looked up each time."""
        key = (station, hashlib.sha256(token.encode()).digest())
        now = self._now()
        if (found_at := self._right.get(key)) is not None and 0.0 <= now - found_at < self._keep_s:
            return True
        self._right.pop(key, None)
        if not await run_in_threadpool(self._is_token, station, token):
            return False
        self._right[key] = now
        while len(self._right) > _MOST:
            self._right.popitem(last=False)
        return True
