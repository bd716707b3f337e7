"""What sketching costs: statistics and update of one 224x224 frame, the size of a window, 10,000 merges."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np

from contract.sketches.enrolment import Enrolment
from contract.sketches.frame_stats import frame_stats
from contract.sketches.rolling import RollingSketch
from contract.sketches.window import FEATURES_VERSION, SketchIdentity, merge
from contract.sketches.wire import to_wire, wire_bytes

_FRAMES = 256
_MERGES = 10_000


def measure() -> dict[str, float]:
    """Return the `sketch.*` figures."""
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 256, (224, 224), np.uint8) for _ in range(_FRAMES)]
    features_us = median(_microseconds(partial(frame_stats, frame)) for frame in frames)
    stats = [frame_stats(frame) for frame in frames]
    enrolment = Enrolment(_FRAMES)
    for each in stats:
        enrolment.add(each)
    reference = enrolment.reference()
    identity = SketchIdentity(FEATURES_VERSION, reference.seed, reference.digest(), "bench", 6)
    rolling = RollingSketch(identity, reference)
    # Closing is part of the cost: what `observe` puts off is done there.
    begun = time.perf_counter()
    for each in stats:
        rolling.observe(each, 2, 0.93, 1800.0)
    window = rolling.close()
    update_us = (time.perf_counter() - begun) / _FRAMES * 1e6
    total = window
    begun = time.perf_counter()
    for _ in range(_MERGES):
        total = merge(total, window)
    merge_s = time.perf_counter() - begun
    return {
        "sketch.us_per_frame": update_us,
        "sketch.features_us": features_us,
        "sketch.bytes": float(wire_bytes(to_wire(window))),
        "sketch.merge10k_s": merge_s,
    }


def _microseconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1e6
