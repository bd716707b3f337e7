"""How late the server's event loop is: what it does not see of a question's way, since it comes to it late."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

_LOOK_S = 0.02
_HALF_LIFE_S = 1.0
_REST_S = 5.0


class LoopLag:
    """The worst lag of late, fading. Measured only while somebody asks. One event loop's."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._worst_s = 0.0
        self._worst_at = 0.0
        self._asked_at = 0.0
        self._runs = False

    def seconds(self) -> float:
        """Return by how much the loop is late, at worst."""
        now = self._now()
        self._asked_at = now
        if not self._runs:
            self._runs = True
            self._look_later(now)
        return self._faded(now)

    def _faded(self, now: float) -> float:
        return self._worst_s * math.exp2((self._worst_at - now) / _HALF_LIFE_S)

    def _look_later(self, now: float) -> None:
        asyncio.get_running_loop().call_later(_LOOK_S, self._look, now + _LOOK_S)

    def _look(self, due_at: float) -> None:
        now = self._now()
        lag_s = max(now - due_at, 0.0)
        if lag_s >= self._faded(now):
            self._worst_s, self._worst_at = lag_s, now
        self._runs = now - self._asked_at < _REST_S
        if self._runs:
            self._look_later(now)
