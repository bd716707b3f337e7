"""A loaded model."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Runtime(Protocol):
    """One artefact, loaded; used by one thread at a time."""

    def run(self, tensor: NDArray[Any]) -> NDArray[np.float32]:
        """Return scores f32[K] for one preprocessed frame.

        Raises:
            BadModel: the runtime failed on this input.
        """

    def close(self) -> None:
        """Free the model's memory."""
