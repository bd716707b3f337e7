"""Whether data is fresh, minute by minute: one event a station and minute."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cloud.slo.tally import Tally, hour_of

MINUTE_S = 60.0
# Longer than a day of not looking is not made up for.
_MOST_MINUTES = 1_440


def fresh_minutes(
    heard_at: NDArray[np.float64], last_minute: int | None, now: float, fresh_s: float
) -> tuple[int, dict[int, Tally]]:
    """Return (the minute of `now`, tallies by hour of the minutes since `last_minute`).

    Of minutes in which nobody looked it is known of a station only what its newest data says: heard of before them, it was as old
    as it was; heard of since, it may have been fresh or not, and is no event.

    Args:
        heard_at: f64[N], when the newest data of each station that counts came, Unix seconds.
        last_minute: the last minute counted, since 1970; None for none. One ahead (a clock set back) counts nothing, and one that
            is further ahead than a day was counted by a clock that was wrong: counting begins anew.
    """
    minute = int(now // MINUTE_S)
    if last_minute is not None and last_minute - minute > _MOST_MINUTES:
        last_minute = None
    if last_minute is not None and minute <= last_minute:
        return last_minute, {}
    heard = np.sort(heard_at)
    hours: dict[int, Tally] = {}
    first = minute if last_minute is None else max(last_minute + 1, minute - _MOST_MINUTES)
    for each in range(first, minute + 1):
        at = now if each == minute else (each + 1) * MINUTE_S
        known = int(np.searchsorted(heard, at, side="right"))
        stale = int(np.searchsorted(heard, at - fresh_s, side="left"))
        if known:
            hour = hour_of(each * MINUTE_S)
            hours[hour] = hours.get(hour, Tally()).plus(Tally(known - min(stale, known), known))
    return minute, hours
