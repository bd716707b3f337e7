"""Runs a TFLite artefact over many images, with the preprocessing that the device uses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.ports.clock import Clock
from cloud.registry.model_file import load_as
from contract.errors import BadModel
from contract.manifest import RuntimeKind
from contract.preprocess import PreprocessSpec, preprocess

_RUNS = 100
_WARM_UP = 5


def channels_last(spec: PreprocessSpec) -> PreprocessSpec:
    """Return `spec` with the layout that TFLite takes. A manifest has one spec: TFLite ships in a bundle of its own."""
    return msgspec.structs.replace(spec, layout="NHWC")


class TfliteRunner:
    """A TFLite file and its preprocessing, ready to score images: one at a time, one thread."""

    def __init__(self, file: Path, spec: PreprocessSpec) -> None:
        """Load the artefact, for images prepared as `spec` says but channels last.

        Raises:
            BadModel: it does not load, no LiteRT is installed, or it takes another input.
        """
        self.file = file
        self.spec = channels_last(spec)
        self._model = load_as(file, RuntimeKind.TFLITE)
        wanted = (1, spec.height, spec.width, spec.channels)
        if self._model.shape != wanted or self._model.dtype != "float32":
            raise BadModel(
                f"{file.name} takes {self._model.dtype} {list(self._model.shape)}, not float32 {list(wanted)}"
            )

    def scores(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return scores f32[N,K] of images u8[H,W] or u8[H,W,C].

        Raises:
            BadImage: an image that preprocessing refuses.
            BadModel: there are no images.
        """
        if len(images) == 0:
            raise BadModel(f"{self.file.name} was given no images to score")
        return np.stack([self._model.run(preprocess(image, self.spec)) for image in images])

    def median_latency_ms(self, image: NDArray[np.uint8], clock: Clock) -> float:
        """Return the median wall time of one inference in ms: one thread, batch 1, without preprocessing."""
        tensor = preprocess(image, self.spec)
        times: list[float] = []
        for _ in range(_WARM_UP + _RUNS):
            before = clock.monotonic()
            self._model.run(tensor)
            times.append(clock.monotonic() - before)
        return round(float(np.median(times[_WARM_UP:])) * 1000, 4)
