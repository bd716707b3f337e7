"""When stations were last heard over HTTP: by their questions for orders and by their reports, which a station with a broker does
not bring that way. Its images and its other questions say nothing of its link: it has them with a broker, too.

Kept in memory: a station that has no broker asks every five minutes (`agent.orders_loop`), so that a server that was started again
knows in a while, and a row need not be written for each question.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

FRESH_S = 900.0
"""Heard within this time: three times as long as a station without a broker waits between two questions."""


class HeardByHttp:
    """Thread-safe; it remembers only who showed a token, so no more than there are stations."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._at: dict[str, float] = {}

    def noting(self, is_token: Callable[[str, str], bool]) -> Callable[[str, str], bool]:
        """Return `is_token` that notes each station whose token it found right."""

        def asked(station: str, token: str) -> bool:
            if not is_token(station, token):
                return False
            with self._lock:
                self._at[station] = self._now()
            return True

        return asked

    def all(self) -> Mapping[str, float]:
        """Return when each was last heard, Unix seconds."""
        with self._lock:
            return dict(self._at)

    def fresh(self) -> frozenset[str]:
        """Return who was heard within `FRESH_S`."""
        now = self._now()
        with self._lock:
            # A clock that was set back must not make somebody heard for years.
            return frozenset(station for station, at in self._at.items() if abs(now - at) < FRESH_S)
