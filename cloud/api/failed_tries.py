"""Wrong tokens at the sign-in page, told to the audit log together: whoever tries thousands must not fill it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from cloud.api.limits import network_of
from cloud.store.audit import AuditLog

_TELL_EVERY_S = 600.0
_MOST_ADDRESSES = 256
_OTHERS = "others"


class FailedTries:
    """The first try is told at once; those of the ten minutes after it in one entry. Thread-safe."""

    def __init__(self, audit: AuditLog, now: Callable[[], float]) -> None:
        self._audit, self._now = audit, now
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._told_at = float("-inf")

    def add(self, address: str) -> None:
        """Count a failed try from `address`."""
        network = network_of(address)
        with self._lock:
            full = len(self._counts) >= _MOST_ADDRESSES and network not in self._counts
            self._counts[_OTHERS if full else network] += 1
        self.tick()

    def tick(self) -> None:
        """Tell what is to be told by now."""
        now = self._now()
        with self._lock:
            # A clock that was set back tells at once.
            if not self._counts or 0.0 <= now - self._told_at < _TELL_EVERY_S:
                return
            counts, self._counts, self._told_at = self._counts, Counter(), now
        named = ", ".join(f"{address} ({count})" for address, count in counts.most_common(5))
        more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
        total = sum(counts.values())
        what = f"{total} wrong token{'' if total == 1 else 's'} from {named}{more}"
        self._audit.append(now, "plumbline", "sign-in failed", what)
