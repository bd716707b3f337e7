"""What promises are counted in: good events of all events, by the hour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from contract.messages import Accounting

HOUR_S = 3_600.0
_LATE = "late"
"""The REVIEW cause of `agent.decide.causes` for a frame that was not decided by its deadline."""


class Promise(str, Enum):
    """What a fleet promises (`cloud.settings_operate.PromiseSettings`)."""

    AVAILABILITY = "availability"
    IN_TIME = "in_time"
    FRESHNESS = "freshness"
    RECOVERY = "recovery"


class Tally(NamedTuple):
    """`good` events of `total`. Adding is associative and commutative: in which order hours are filled does not matter."""

    good: float = 0
    total: float = 0

    def plus(self, other: Tally) -> Tally:
        """Return both together."""
        return Tally(self.good + other.good, self.total + other.total)


Hours = Mapping[int, Tally]
"""By hour since 1970."""


def hour_of(at: float) -> int:
    """Return the hour that a time in Unix seconds is in."""
    return int(at // HOUR_S)


def late_frames(accounting: Accounting) -> int:
    """Return how many of a window's frames were decided after their deadline."""
    return accounting.review.get(_LATE, 0)


def frames(captured: int, decided: int, late: int) -> dict[Promise, Tally]:
    """Return what frames come to: decided of captured, and decided in time of decided."""
    return {Promise.AVAILABILITY: Tally(decided, captured), Promise.IN_TIME: Tally(decided - late, decided)}


def recoveries(alarms: Iterable[tuple[float, float | None]], now: float, within_s: float) -> dict[int, Tally]:
    """Return what drift alarms, as (opened at, closed at), come to: one event each, in the hour it was decided.

    Good is one closed within `within_s`; one that is open for longer is bad from then on, one younger is no event yet.
    """
    hours: dict[int, Tally] = {}
    for opened_at, closed_at in alarms:
        due_at = opened_at + within_s
        if closed_at is not None and closed_at <= due_at:
            decided_at, good = closed_at, 1
        elif due_at <= now:
            decided_at, good = due_at, 0
        else:
            continue
        hour = hour_of(decided_at)
        hours[hour] = hours.get(hour, Tally()).plus(Tally(good, 1))
    return hours
