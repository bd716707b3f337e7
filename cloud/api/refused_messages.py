"""What open pages sent and was not taken: counted for /metrics, and told to the log in a line a minute at most."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum

from cloud.ports.figures import Family, each

_log = logging.getLogger(__name__)

_TELL_EVERY_S = 60.0


class Why(str, Enum):
    """Why a message was not taken; the value is the metric's label."""

    LARGE = "large"
    FAST = "fast"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    LOG = "log"


class RefusedMessages:
    """Counts them. Thread-safe.

    Args:
        monotonic: seconds that never go back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._counts: Counter[Why] = Counter()
        self._untold = 0
        self._told_at = float("-inf")

    def add(self, why: Why, detail: str) -> None:
        """Count one. `detail` says in a line which it was."""
        now = self._monotonic()
        with self._lock:
            self._counts[why] += 1
            self._untold += 1
            if now - self._told_at < _TELL_EVERY_S:
                return
            untold, self._untold, self._told_at = self._untold, 0, now
        _log.warning("%d messages of open pages were refused, the last as %s: %s", untold, why.value, detail)

    def count(self, why: Why) -> int:
        """Return how many were refused for a reason since the start."""
        with self._lock:
            return self._counts[why]

    def families(self) -> Iterable[Family]:
        """Return the metric; a part of /metrics."""
        what = "Messages of open pages that were not taken since the start, by why; log: what was meant for the server's log."
        values = {why.value: float(self.count(why)) for why in Why}
        return [each("plumbline_cloud_page_messages_refused_total", "counter", what, "why", values)]
