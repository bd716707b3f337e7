"""Candidate and incumbent under every kind and severity of corruption, on the same corrupted images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.gate.corruptions import SEVERITIES, Corruption, corrupt
from cloud.gate.scorecard import CorruptionFigures
from cloud.quantize.calibration import stratified
from cloud.quantize.judge import Judge
from cloud.retrain.dataset import Sample


@dataclass(frozen=True, slots=True)
class CorruptionCell:
    """One kind at one severity: for each judge, bool[n], which images it names right."""

    kind: Corruption
    severity: int
    right: tuple[NDArray[np.bool_], ...]

    def figures(self, judge: int) -> CorruptionFigures:
        """Return the counts of judge number `judge`."""
        right = self.right[judge]
        return CorruptionFigures(self.kind.value, self.severity, len(right), int(right.sum()))


def corruption_cells(
    judges: Sequence[Judge],
    samples: Sequence[Sample],
    images: int,
    seed: int,
    on_kind: Callable[[Corruption], None] = lambda kind: None,
) -> list[CorruptionCell]:
    """Return a cell for each kind and severity, `images` in each, as evenly over labels as there are images.

    The severities of one kind take other images as long as there are such, so that their pairs can be counted together; every
    kind takes the same.
    """
    deck = stratified(samples, len(samples), seed)
    count = min(images, len(deck))
    cells = []
    for kind in Corruption:
        on_kind(kind)
        for place, severity in enumerate(SEVERITIES):
            drawn = [(place * count + number) % len(deck) for number in range(count)]
            chosen = [deck[number] for number in drawn]
            seen = [
                corrupt(each.pixels, kind, severity, seed + number) for number, each in zip(drawn, chosen, strict=True)
            ]
            cells.append(CorruptionCell(kind, severity, tuple(judge.right(seen, chosen) for judge in judges)))
    return cells
