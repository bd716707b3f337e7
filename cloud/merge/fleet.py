"""What a whole fleet saw: windows of many stations summed where they may be.

Stations enrol each their own bins, so only windows of one identity add up whole; of the others the outputs still do, because
label counts, confidences and latencies have the same bins everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.sketches.window import SketchIdentity, Window, merge


@dataclass(frozen=True, slots=True, eq=False)
class FleetOutputs:
    """What one model answered across stations: `labels` int64[K], `confidence` int64[min(K,16),64], `latency` int64[64]."""

    artefact: str
    frames: int
    labels: NDArray[np.int64]
    confidence: NDArray[np.int64]
    latency: NDArray[np.int64]


def merge_by_identity(windows: Iterable[Window]) -> dict[SketchIdentity, Window]:
    """Return the sum of the windows of each identity.

    Raises:
        SketchMismatch: one identity has more frames than a window may hold.
    """
    merged: dict[SketchIdentity, Window] = {}
    for window in windows:
        held = merged.get(window.identity)
        merged[window.identity] = window if held is None else merge(held, window)
    return merged


def fleet_outputs(windows: Iterable[Window]) -> dict[tuple[str, int], FleetOutputs]:
    """Return what each model, named by (artefact, number of labels), answered over all `windows`."""
    outputs: dict[tuple[str, int], FleetOutputs] = {}
    for window in windows:
        key = (window.identity.artefact, window.identity.labels)
        held = outputs.get(key)
        mine = FleetOutputs(
            window.identity.artefact,
            window.frames,
            window.label_counts(),
            window.confidence_histograms(),
            window.latency_histogram(),
        )
        outputs[key] = mine if held is None else _add(held, mine)
    return outputs


def _add(first: FleetOutputs, second: FleetOutputs) -> FleetOutputs:
    return FleetOutputs(
        first.artefact,
        first.frames + second.frames,
        first.labels + second.labels,
        first.confidence + second.confidence,
        first.latency + second.latency,
    )
