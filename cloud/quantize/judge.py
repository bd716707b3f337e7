"""A contender and its session: images in, probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.contender import Contender
from cloud.retrain.dataset import Sample


@dataclass(frozen=True, slots=True)
class Judge:
    """An artefact that can be asked. `full` is the full-precision model it came from, None when it is that model."""

    contender: Contender
    runner: ArtefactRunner
    full: ArtefactRunner | None = None

    @classmethod
    def load(cls, contender: Contender, threads: int, full: Path | None = None) -> Judge:
        """Return the contender, loaded.

        Raises:
            BadModel: a file is missing or does not load.
        """
        runner = ArtefactRunner(contender.file, contender.preprocess, threads=threads)
        if full is None or full == contender.file:
            return cls(contender, runner)
        return cls(contender, runner, ArtefactRunner(full, contender.preprocess, threads=threads))

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return probabilities f32[N,K] of images u8[H,W] or u8[H,W,C]. Raises: as ArtefactRunner.scores."""
        return self.contender.probabilities(self.runner.scores(images))

    def right(self, images: Sequence[NDArray[np.uint8]], samples: Sequence[Sample]) -> NDArray[np.bool_]:
        """Return bool[N]: which images, made from `samples`, are named right."""
        return self.contender.right(self.probabilities(images), samples)
