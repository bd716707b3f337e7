"""River's ADWIN and Page-Hinkley as they come, on series of window means; run by the peers' Python, not ours.

Takes on stdin {"series": series x windows x figures}, answers {"adwin_mean": alarm indices of each series, ...}: `_mean` watches
the first figure alone, `_any` has a detector for each figure and alarms when any does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from river.drift import ADWIN, PageHinkley  # type: ignore[import-not-found]


def alarms(make: Callable[[], Any], series: list[list[float]], figures: int) -> list[int]:
    """Return the windows of `series` at which any detector of `figures` alarms."""
    detectors = [make() for _ in range(figures)]
    found = []
    for at, window in enumerate(series):
        rang = False
        for detector, value in zip(detectors, window, strict=False):
            detector.update(value)
            rang = rang or detector.drift_detected
        if rang:
            found.append(at)
    return found


if __name__ == "__main__":
    asked = json.load(sys.stdin)["series"]
    every = len(asked[0][0])
    answer = {
        f"{name}_{which}": [alarms(make, series, figures) for series in asked]
        for name, make in (("adwin", ADWIN), ("page_hinkley", PageHinkley))
        for which, figures in (("mean", 1), ("any", every))
    }
    print(json.dumps(answer))
