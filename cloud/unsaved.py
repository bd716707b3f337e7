"""Which series' drift state has changed since it was last stored, and from which row on a restart must read again.

A settled state is about 100 KB, a learning one up to six times that: stored with each summary, ten thousand stations would write
20 to 90 MB a second. So it is stored now and then, and the summaries that came since are read again after a restart; read
twice, a window changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

C = TypeVar("C")

SAVE_EVERY_S = 600.0
# A window that comes again is known by the last `DriftPolicy.reorder_windows`; more than that must not be read again.
MOST_WINDOWS = 24


@dataclass(slots=True)
class _Change(Generic[C]):
    read_before: C
    since: float
    windows: int


class Unsaved(Generic[C]):
    """Cursors of type `C` are whatever the log of summaries counts by; they are never compared, only kept in order of arrival."""

    def __init__(self) -> None:
        self._changes: dict[str, _Change[C]] = {}

    def saw(self, series: str, read_before: C, now: float) -> None:
        """Note a window of `series`; `read_before` is the last row read before it."""
        change = self._changes.get(series)
        if change is None:
            self._changes[series] = _Change(read_before, now, 1)
        else:
            change.windows += 1

    def due(self, now: float) -> set[str]:
        """Return the series to store now: changed long ago, or by many windows."""
        return {
            series
            for series, change in self._changes.items()
            # abs: the clock was set back.
            if change.windows >= MOST_WINDOWS or abs(now - change.since) >= SAVE_EVERY_S
        }

    def all(self) -> set[str]:
        """Return every series that is not stored."""
        return set(self._changes)

    def saved(self, series: Iterable[str]) -> None:
        """Note that these are stored."""
        for each in series:
            self._changes.pop(each, None)

    def read_up_to(self, last_read: C, saving: Iterable[str] = ()) -> C:
        """Return the row to record as read once `saving` are stored: the last before the oldest change that is not."""
        stored = set(saving)
        oldest = next((change for series, change in self._changes.items() if series not in stored), None)
        return last_read if oldest is None else oldest.read_before
