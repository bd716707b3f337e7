"""Error budgets: how much of what a promise lets go wrong has gone wrong, and how fast.

Source: Beyer et al. 2018, The Site Reliability Workbook, ch. 5 (burn rates over two windows).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cloud.slo.tally import HOUR_S, Hours, Promise, Tally

_SHORT_H, _LONG_H = 1, 6
# Fewer bad events than these would say little of the rest, and what happened within a few hours little of four weeks.
_LEAST_BAD = 10
_LEAST_HOURS = 6
_HOLDING = (Promise.AVAILABILITY, Promise.IN_TIME, Promise.FRESHNESS)
"""A drift that is not mended holds no release: the release is what mends it."""
_OF = {
    Promise.AVAILABILITY: "frames captured were decided",
    Promise.IN_TIME: "frames decided were decided in time",
    Promise.FRESHNESS: "station-minutes had fresh data",
    Promise.RECOVERY: "drifts were mended in time",
}


@dataclass(frozen=True, slots=True)
class Spending:
    """What is left of one promise. `share` is None where nothing happened; `spent` 1 or more: all of the budget; `burn`: how many
    times too fast it went in the last hour and the last six, 0 where fewer than ten events were bad: one late frame of seven wakes
    nobody. `hours`: in how many anything happened."""

    promise: Promise
    target: float
    share: float | None
    events: int
    spent: float
    burn: tuple[float, float]
    hours: int

    @property
    def holds(self) -> bool:
        """Whether releases wait for it: the budget is spent, and it was measured well enough to say so."""
        enough = self.events * (1.0 - self.target) >= _LEAST_BAD and self.hours >= _LEAST_HOURS
        return self.promise in _HOLDING and enough and self.spent >= 1.0

    def in_words(self, days: int) -> str:
        """Return it for a person."""
        if self.share is None:
            return f"nothing was counted in {days} days"
        share = f"{_percent(self.share, self.target)} of {self.events:,} {_OF[self.promise]} in {days} days"
        promised = f"promised: {_percent(self.target, self.target)}"
        if self.spent >= 1.0:
            return f"{share}; {promised}: the error budget is spent"
        fast = f", and goes {self.burn[1]:.1f} times too fast" if self.burn[1] > 1.0 and self.burn[0] > 1.0 else ""
        return f"{share}; {promised}; {(1.0 - self.spent) * 100:.0f} % of the error budget is left{fast}"


def spending(promise: Promise, target: float, hours: Hours, now: float, days: int) -> Spending:
    """Return what is left of a promise over the last `days`."""
    whole = within(hours, now, days * 24)
    bad = whole.total - whole.good
    counted = sum(1 for hour, tally in hours.items() if tally.total and 0 <= now / HOUR_S - hour < days * 24)
    return Spending(
        promise,
        target,
        share=whole.good / whole.total if whole.total else None,
        events=round(whole.total),
        spent=bad / (whole.total * (1.0 - target)) if whole.total else 0.0,
        burn=(_burn(within(hours, now, _SHORT_H), target), _burn(within(hours, now, _LONG_H), target)),
        hours=counted,
    )


def within(hours: Hours, now: float, length_h: int) -> Tally:
    """Return what happened in the last `length_h` hours; the hour they begin in counts by the share of it that is within."""
    at = now / HOUR_S
    first = math.floor(at) - length_h
    found = Tally()
    for hour in range(first, first + length_h + 1) if len(hours) > length_h else sorted(hours):
        if (tally := hours.get(hour)) is None or not first <= hour <= first + length_h:
            continue
        share = first + 1 + length_h - at if hour == first else 1.0
        found = found.plus(Tally(tally.good * share, tally.total * share))
    return found


def why_held(all_of_them: Mapping[Promise, Spending], days: int) -> str:
    """Return why releases wait and what can be done, "" where they need not."""
    spent = "; ".join(each.in_words(days) for each in all_of_them.values() if each.holds)
    return f"{spent}; a rollout started with --despite-budget does not wait for that" if spent else ""


def _burn(tally: Tally, target: float) -> float:
    bad = tally.total - tally.good
    return bad / (tally.total * (1.0 - target)) if bad >= _LEAST_BAD else 0.0


def _percent(share: float, target: float) -> str:
    # As many digits as tell the promise from all: 99.9 % is not 100 %.
    digits = max(0, math.ceil(-math.log10(1.0 - target)) - 1)
    down = math.floor(share * 10 ** (digits + 2)) / 10**digits
    return f"{down:.{digits}f} %"
