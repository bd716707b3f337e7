"""What stations cost outside of summaries, gathered in memory and written together every few seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from cloud.store.costs import Cost

_CALLS = {"answered": Cost.ANSWERED, "refused": Cost.REFUSED, "dropped": Cost.DROPPED}


class CostMeter:
    """Thread-safe. What was not flushed when the process is killed is lost: seconds of it."""

    def __init__(
        self, write: Callable[[Mapping[tuple[str, Cost], float], float], None], now: Callable[[], float]
    ) -> None:
        self._write, self._now = write, now
        self._amounts: dict[tuple[str, Cost], float] = {}
        self._lock = threading.Lock()

    def asked(self, station: str, what: str, size_bytes: int) -> None:
        """Note a question to the cloud and what it came to ("answered", "refused", "dropped"), with the bytes read of it."""
        self._add({(station, _CALLS[what]): 1.0, (station, Cost.FALLBACK_BYTES): float(size_bytes)})

    def image(self, station: str, size_bytes: int) -> None:
        """Note an image that came for a person to look at."""
        self._add({(station, Cost.IMAGES): 1.0, (station, Cost.IMAGE_BYTES): float(size_bytes)})

    def flush(self) -> None:
        """Write what was gathered.

        Raises:
            TransientError: the database did not take it; it is kept for the next time.
        """
        with self._lock:
            amounts, self._amounts = self._amounts, {}
        if not amounts:
            return
        try:
            self._write(amounts, self._now())
        except BaseException:
            self._add(amounts)
            raise

    def _add(self, amounts: Mapping[tuple[str, Cost], float]) -> None:
        with self._lock:
            for key, amount in amounts.items():
                if amount:
                    self._amounts[key] = self._amounts.get(key, 0.0) + amount
