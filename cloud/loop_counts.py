"""How the server's loops fare: when each last turned, how long it took, and what broke in it. Thread-safe."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

FAULT_WINDOW_S = 3600.0
_MOST_FAULTS = 1000


@dataclass(frozen=True, slots=True)
class LoopCount:
    """One loop. `turned_at`: when a turn of it last ended, by a monotonic clock; `busy_since`: when the turn at hand began, None
    between two. `took_s` is the last turn's time, `turns` and `faults` count since the start. `endless`: it is one turn."""

    name: str
    turned_at: float
    busy_since: float | None = None
    took_s: float = 0.0
    turns: int = 0
    faults: int = 0
    endless: bool = False


class LoopCounts:
    """`monotonic` returns seconds that only ever move forward."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._counts: dict[str, LoopCount] = {}
        self._faults: dict[str, deque[float]] = {}

    def known(self, name: str, *, endless: bool = False) -> None:
        """Count a loop from now on, before it has turned once."""
        with self._lock:
            self._counts.setdefault(name, LoopCount(name, self._monotonic(), endless=endless))

    def begin(self, name: str) -> None:
        """A turn begins."""
        with self._lock:
            self._counts[name] = replace(self._of(name), busy_since=self._monotonic())

    def end(self, name: str, *, failed: bool) -> None:
        """It ended; `failed`: something broke in it, and the loop goes on."""
        now = self._monotonic()
        with self._lock:
            count = self._of(name)
            took = now - count.busy_since if count.busy_since is not None else 0.0
            faults = count.faults + failed
            self._counts[name] = LoopCount(name, now, None, took, count.turns + 1, faults, count.endless)
            if failed:
                self._faults.setdefault(name, deque(maxlen=_MOST_FAULTS)).append(now)

    def all(self) -> list[LoopCount]:
        """Return every loop, by name."""
        with self._lock:
            return [self._counts[name] for name in sorted(self._counts)]

    def recent_faults(self) -> dict[str, int]:
        """Return how often each loop broke within the last hour, of those that did."""
        since = self._monotonic() - FAULT_WINDOW_S
        with self._lock:
            found = {name: sum(at >= since for at in faults) for name, faults in self._faults.items()}
        return {name: number for name, number in sorted(found.items()) if number}

    def _of(self, name: str) -> LoopCount:
        return self._counts.get(name) or LoopCount(name, self._monotonic())
