"""What the fleet promises, kept count of: `cloud.ports.promises` over the hours in the database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from cloud.ports.promises import Budget
from cloud.slo.budget import Spending, spending, why_held
from cloud.slo.tally import Promise, hour_of, recoveries
from cloud.store.promises import PromiseHours

_REMEMBERED_S = 5.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What is promised over `days`: a share of good events by promise, what is fresh, and within what a drift is mended."""

    targets: dict[Promise, float]
    days: int
    fresh_s: float
    recovery_s: float


class FleetPromises:
    """`cloud.ports.promises.Promises`. Thread-safe."""

    def __init__(self, hours: PromiseHours, terms: Terms, now: Callable[[], float]) -> None:
        self._hours, self._terms, self._now = hours, terms, now
        self._lock = threading.Lock()
        self._known: dict[Promise, Spending] = {}
        self._known_at = 0.0

    def budgets(self) -> list[Budget]:
        """Return what is left of each promise, a few seconds old at most."""
        days = self._terms.days
        return [
            Budget(promise.value, s.target, s.share, s.events, s.spent, s.burn, s.in_words(days), s.holds)
            for promise, s in self._spent().items()
        ]

    def why_held(self) -> str:
        """Return why releases wait just now, "" when no budget that could hold them is spent."""
        return why_held(self._spent(), self._terms.days)

    def tick(self) -> None:
        """Count how fresh the data is. To be called about once a minute.

        Raises:
            TransientError: the database did not take it; the next call makes up for it.
        """
        self._hours.count_fresh(self._now(), self._terms.fresh_s)

    def _spent(self) -> dict[Promise, Spending]:
        now = self._now()
        with self._lock:
            if self._known and 0.0 <= now - self._known_at < _REMEMBERED_S:
                return self._known
        terms = self._terms
        hours = self._hours.since(hour_of(now) - terms.days * 24)
        since = now - terms.days * 86_400.0 - terms.recovery_s
        hours[Promise.RECOVERY] = recoveries(self._hours.alarms_since(since), now, terms.recovery_s)
        found = {each: spending(each, terms.targets[each], hours[each], now, terms.days) for each in Promise}
        with self._lock:
            self._known, self._known_at = found, now
        return found
