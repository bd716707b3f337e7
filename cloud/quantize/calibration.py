"""Which images calibrate the quantization, and how ONNX Runtime is fed them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader

from cloud.retrain.dataset import Sample


def stratified(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """Return up to `count` samples, as evenly over labels as there are images, the same ones for the same seed."""
    generator = np.random.default_rng(seed)
    by_label: dict[str, list[Sample]] = {}
    for sample in samples:
        by_label.setdefault(sample.entry.label, []).append(sample)
    decks = [[deck[i] for i in generator.permutation(len(deck))] for _, deck in sorted(by_label.items())]
    chosen: list[Sample] = []
    depth = 0
    while len(chosen) < count and any(depth < len(deck) for deck in decks):
        chosen.extend(deck[depth] for deck in decks if depth < len(deck))
        depth += 1
    return chosen[:count]


class TensorReader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Feeds preprocessed images, one at a time, as calibration wants them."""

    def __init__(self, name: str, tensors: Sequence[NDArray[Any]]) -> None:
        self._name = name
        self._tensors = tensors
        self._next = 0

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next input, or None at the end."""
        if self._next >= len(self._tensors):
            return None
        self._next += 1
        return {self._name: self._tensors[self._next - 1]}
