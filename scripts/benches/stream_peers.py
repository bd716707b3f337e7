"""River's detectors as watches over streams of windows: table 3's peers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scripts.benches.drift_peer_venv import ask_peer
from scripts.benches.run_lengths import ENROL_WINDOWS, Stream

STREAM_PEERS = ("adwin_mean", "adwin_any", "page_hinkley_mean", "page_hinkley_any")
"""ADWIN and Page-Hinkley with their defaults, on the mean grey alone and with a detector for each statistic."""


def river_alarms(streams: Sequence[Stream]) -> dict[str, list[list[int]]]:
    """Return for each of `STREAM_PEERS` the watched windows of each stream at which it alarmed.

    They are online: they also learn from the enrolled windows that come first, and are given window means in units of the
    enrolled windows' sd, since Page-Hinkley's defaults hang on the scale.

    Raises:
        RefusedError: the peers' process failed.
    """
    series = [np.round(stream.standardised(), 5).tolist() for stream in streams]
    answer: dict[str, list[list[int]]] = ask_peer("drift_stream_peer.py", {"series": series})
    return {
        name: [[at - ENROL_WINDOWS for at in found if at >= ENROL_WINDOWS] for found in each]
        for name, each in answer.items()
    }
