"""A clock for tests that run real threads against a short limit: it stands still while the machine does not run the process."""

from __future__ import annotations

import threading
import time

from agent.clock import SystemClock

_EVERY_S = 0.005
_MOST_S = 0.02


class RunningClock(SystemClock):
    """Goes as real time does, but at most 20 ms for each time that a thread of its own is run.

    A process that is paused for a second, or does without a core that long, has then lost 20 ms: what "hangs" by this clock was
    passed over while other threads ran, however busy the machine is. `now` is the real time of day.
    """

    def __init__(self) -> None:
        self._passed_s = 1_000.0
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        """Return seconds."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._go, name="test clock", daemon=True)
                    self._thread.start()
        return self._passed_s

    def _go(self) -> None:
        last_s = time.monotonic()
        while True:
            time.sleep(_EVERY_S)
            now_s = time.monotonic()
            self._passed_s += min(now_s - last_s, _MOST_S)
            last_s = now_s
