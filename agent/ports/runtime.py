"""A loaded model."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Prepare(Protocol):
    """Pixels u8[H,W] or u8[H,W,C] to the input of one model; used by one thread at a time."""

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return what contract.preprocess.preprocess returns.

        Raises:
            BadImage: the pixels have another dtype or shape.
        """

    def close(self) -> None:
        """Free what it holds."""


class Runtime(Protocol):
    """One artefact, loaded; used by one thread at a time."""

    def run(self, tensor: NDArray[Any]) -> NDArray[np.float32]:
        """Return scores f32[K] for one preprocessed frame.

        Raises:
            BadModel: the runtime failed on this input.
        """

    def activation_map(self, index: int) -> NDArray[np.float32] | None:
        """Return f32[h,w], how much each place of the last frame spoke for label `index`; None where the model does not say.

        A copy: the next `run` leaves it as it is.
        """

    def close(self) -> None:
        """Free the model's memory."""
