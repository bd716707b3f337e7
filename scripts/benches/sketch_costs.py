"""What sketching costs beside whylogs and datasketches: table 1 of `bench drift`.

The peers are given the 12 statistics ready made, with a label and a confidence (KLL: the statistics alone), of as many frames
as an hour has at nearly three a second. Plumbline's window of as many frames also holds projections, Fourier means
and latencies; its times are those of `bench sketch`.
"""

from __future__ import annotations

import numpy as np

from contract.sketches.enrolment import Enrolment
from contract.sketches.moments import N_STATISTICS, STATISTICS
from contract.sketches.rolling import RollingSketch
from contract.sketches.window import FEATURES_VERSION, SketchIdentity
from contract.sketches.wire import to_wire, wire_bytes
from scripts.benches import sketch
from scripts.benches.drift_peer_venv import ask_peer
from scripts.benches.tiles import Condition, TilePool

_LABELS = ("Free", "Blowhole", "Break", "Crack", "Fray", "Uneven")
_SEED = 4


def own_costs(pool: TilePool, frames: int) -> dict[str, float]:
    """Return Plumbline's `drift.cost_*`; the size is that of one window of `frames` frames of `pool`."""
    measured = sketch.measure()
    seen = pool.frames[Condition.NOMINAL]
    enrolment = Enrolment(len(seen))
    for frame in seen:
        enrolment.add(frame)
    enrolled = enrolment.reference()
    rolling = RollingSketch(
        SketchIdentity(FEATURES_VERSION, enrolled.seed, enrolled.digest(), "bench", len(_LABELS)), enrolled
    )
    rng = np.random.default_rng(_SEED)
    labels, confidences = rng.integers(len(_LABELS), size=frames).tolist(), rng.beta(20, 2, frames).tolist()
    for at, (label, confidence) in enumerate(zip(labels, confidences, strict=True)):
        rolling.observe(seen[at % len(seen)], label, confidence, 1800.0)
    return {
        "drift.cost_us_per_frame": measured["sketch.us_per_frame"],
        "drift.cost_bytes": float(wire_bytes(to_wire(rolling.close()))),
        "drift.cost_merge_us": measured["sketch.merge10k_s"] / 10_000 * 1e6,
    }


def peer_costs(pool: TilePool, frames: int) -> dict[str, float]:
    """Return the peers' `drift.cost_WHO_*` of `frames` frames like those of `pool`.

    Raises:
        RefusedError: the peers' process failed.
    """
    values = pool.values(Condition.NOMINAL)
    rng = np.random.default_rng(_SEED)
    # Drawn afresh, not the tiles' own again and again: sketches keep few distinct values cheaply.
    rows = values.mean(axis=0) + values.std(axis=0) * rng.standard_normal((frames, N_STATISTICS))
    question = {
        "names": STATISTICS,
        "rows": rows.tolist(),
        "labels": rng.choice(_LABELS, frames).tolist(),
        "confidences": rng.beta(20, 2, frames).tolist(),
    }
    answer: dict[str, float] = ask_peer("drift_sketch_peer.py", question)
    return {f"drift.cost_{key}": float(figure) for key, figure in answer.items()}
