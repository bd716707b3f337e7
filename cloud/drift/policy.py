"""What a person may choose about drift alarms."""

from __future__ import annotations

import msgspec

MIN_ENROL_WINDOWS = 12
_YOUNG = 1.0


class DriftPolicy(msgspec.Struct, frozen=True):
    """When a station has drifted.

    `period_s`: windows that begin in the same period of this many seconds are judged as one; 0 judges each as it came.
    `alpha`: 1 / the windows until a false alarm, of a single station and of a fleet on which nothing changes (DESIGN 4.5,
    `fleet_fdr`). `enrol_windows`: windows that make a first baseline, at least 12; it is learnt anew, while nothing is wrong,
    each time twice as many are in, until there are `settle_windows`. `min_frames`: smaller windows say too little and are left
    out. `tolerance`: a shift too small to care about, in standard deviations of a single frame. `latch_windows`: windows in a
    row that must agree. `clear_windows`: quiet windows that end an alarm. `reorder_windows`: how many later windows may already
    be in when a late one still counts. `shared_share`: the share of a cohort that must change for the cause to be called shared.
    """

    alpha: float = 1e-3
    enrol_windows: int = 24
    settle_windows: int = 168
    period_s: float = 0.0
    min_frames: int = 8
    tolerance: float = 0.1
    latch_windows: int = 2
    clear_windows: int = 24
    reorder_windows: int = 32
    shared_share: float = 0.5

    @property
    def first_baseline(self) -> int:
        """Windows that make the first baseline."""
        return max(self.enrol_windows, MIN_ENROL_WINDOWS)

    def caution(self, windows: int) -> float:
        """Return by how many sd all margins are wider under a baseline of so many windows: none once it has settled.

        In a few days light shows neither its memory nor its swing; until then only what is gross is told.
        """
        return 0.0 if windows >= max(self.settle_windows, self.first_baseline) else _YOUNG
