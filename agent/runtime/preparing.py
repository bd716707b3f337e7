"""Preparing frames for a model: on the CPU at once, and on the GPU from when that was measured, on this device, to pay."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.runtime.preprocess_choice import ChosenPreprocess
from contract.preprocess import PreprocessSpec, preprocess


class MeasuredPreprocess:
    """`agent.ports.runtime.Prepare`: the first frame says what shape is to be measured; the line never waits for it."""

    def __init__(
        self,
        spec: PreprocessSpec,
        choose: Callable[[NDArray[np.uint8]], ChosenPreprocess],
        say: Callable[[str], None],
    ) -> None:
        """`choose` measures on one frame and returns what is to be used for frames like it; it takes its time."""
        self._say = say
        self._spec = spec
        self._choose = choose
        self._lock = threading.Lock()
        self._chosen: ChosenPreprocess | None = None
        self._closed = False
        self._worker: threading.Thread | None = None

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return what contract.preprocess returns.

        Raises:
            BadImage: the pixels have another dtype or shape.
        """
        chosen = self._chosen
        if chosen is not None:
            return chosen(pixels)
        prepared = preprocess(pixels, self._spec)  # first: pixels that cannot be prepared are not worth measuring on
        if self._worker is None:
            # A daemon: CUDA's start can hang, and must not keep the station from ending.
            self._worker = threading.Thread(target=self._measure, args=(pixels.copy(),), name="preprocess", daemon=True)
            self._worker.start()
        return prepared

    def settle(self, within_s: float) -> bool:
        """Wait until the choice is made; return whether it was in time."""
        if self._worker is not None:
            self._worker.join(within_s)
        return self._chosen is not None

    def close(self) -> None:
        """Free the device's memory."""
        with self._lock:
            self._closed = True
            chosen, self._chosen = self._chosen, None
        if chosen is not None:
            chosen.close()

    def _measure(self, pixels: NDArray[np.uint8]) -> None:
        try:
            chosen = self._choose(pixels)
        except Exception as error:  # noqa: BLE001 - whatever a GPU's library throws: the CPU has been serving all along
            self._say(f"preprocessing on the CPU: {type(error).__name__}: {error}")
            chosen = ChosenPreprocess(self._spec, None, self._say)
        with self._lock:
            if not self._closed:
                self._chosen = chosen
                return
        chosen.close()
