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
        self._at = (1_000.0, time.monotonic())
        """What this clock said, and what the machine's did, when the thread was last run."""
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        """Return seconds."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._go, name="test clock", daemon=True)
                    self._thread.start()
        passed_s, last_s = self._at
        return passed_s + min(time.monotonic() - last_s, _MOST_S)

    def _go(self) -> None:
        while True:
            time.sleep(_EVERY_S)
            passed_s, last_s = self._at
            now_s = time.monotonic()
            self._at = (passed_s + min(now_s - last_s, _MOST_S), now_s)
