"""What a person may choose about drift alarms."""

from __future__ import annotations

import msgspec


class DriftPolicy(msgspec.Struct, frozen=True):
    """When a station has drifted.

    `alpha`: false alarms a window allowed (DESIGN 4.5). `enrol_windows`: windows that make a baseline, at least 12. `min_frames`:
    smaller windows say too little and are left out. `tolerance`: a shift too small to care about, in standard deviations of a
    single frame. `latch_windows`: windows in a row that must agree. `clear_windows`: quiet windows that end an alarm.
    `reorder_windows`: how many later windows may already be in when a late one still counts.
    """

    alpha: float = 1e-3
    enrol_windows: int = 24
    min_frames: int = 8
    tolerance: float = 0.1
    latch_windows: int = 2
    clear_windows: int = 24
    reorder_windows: int = 32
    shared_share: float = 0.5


MIN_ENROL_WINDOWS = 12
