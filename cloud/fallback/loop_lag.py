"""How late the server's event loop is: what it does not see of a question's way, since it comes to it late."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

_LOOK_S = 0.02
_KEPT = 64
_QUANTILE = 0.9
_REST_S = 5.0


class LoopLag:
    """The upper quantile of its lags of late. Measured only while somebody asks. One event loop's."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lags: deque[float] = deque(maxlen=_KEPT)
        self._lag_s = 0.0
        self._asked_at = 0.0
        self._runs = False

    def seconds(self) -> float:
        """Return by how much the loop is late, nine times of ten at most."""
        now = self._now()
        self._asked_at = now
        if not self._runs:
            self._runs = True
            self._look_later(now)
        return self._lag_s

    def _look_later(self, now: float) -> None:
        asyncio.get_running_loop().call_later(_LOOK_S, self._look, now + _LOOK_S)

    def _look(self, due_at: float) -> None:
        now = self._now()
        self._lags.append(max(now - due_at, 0.0))
        self._lag_s = sorted(self._lags)[int(len(self._lags) * _QUANTILE)]
        self._runs = now - self._asked_at < _REST_S
        if self._runs:
            self._look_later(now)
