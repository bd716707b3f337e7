"""Who gets a release when: waves from a canary to everyone."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence


def plan_waves(
    stations: Sequence[str], expected_to_change: Collection[str], shares: Sequence[float]
) -> list[list[str]]:
    """Return waves of stations: wave 0 is one canary, later ones reach the cumulative `shares` of the fleet.

    Args:
        stations: the stations to reach.
        expected_to_change: stations whose decisions this release is meant to change (their alarm is what it answers).
            They go last: on the others a change of decisions is a fault that can be seen.
        shares: rising shares, 0..1; the last wave always takes everyone left.
    """
    ordered = sorted(stations, key=lambda s: (s in expected_to_change, s))
    if not ordered:
        return []
    waves, taken = [ordered[:1]], 1
    for share in (*shares, 1.0):
        upto = min(len(ordered), max(taken, math.ceil(share * len(ordered))))
        if upto > taken:
            waves.append(ordered[taken:upto])
            taken = upto
    return waves
