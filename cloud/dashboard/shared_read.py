"""What many open pages show is read once for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class SharedRead(Generic[_T]):
    """Calls `read` when asked, unless it did so less than `fresh_s` ago by `now`. Thread-safe; who comes meanwhile waits for it.

    An error is not kept: the next who asks tries again.
    """

    def __init__(self, read: Callable[[], _T], fresh_s: float, now: Callable[[], float]) -> None:
        self._read, self._fresh_s, self._now = read, fresh_s, now
        self._lock = threading.Lock()
        self._held: tuple[float, _T] | None = None

    def __call__(self) -> _T:
        with self._lock:
            # A clock that was set back must not hold on to what is old.
            if self._held is None or not 0.0 <= self._now() - self._held[0] < self._fresh_s:
                self._held = (self._now(), self._read())
            return self._held[1]
