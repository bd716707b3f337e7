"""A model that serves on one session until a faster one is ready, and then changes over between two frames."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.ports.runtime import Runtime
from contract.errors import BadModel

# Share of the largest score by which the new session may differ on the frame that it is tried on: fp16 kernels differ by 1e-3.
_TOLERANCE = 0.05


class UpgradingRuntime:
    """A Runtime whose `upgrade` may come from any thread; `run` and `close` are one thread's, as of any Runtime."""

    def __init__(self, present: Runtime, say: Callable[[str], None]) -> None:
        self._present = present
        self._say = say
        self._lock = threading.Lock()
        self._next: Runtime | None = None
        self._closed = False
        self.upgraded = False

    def upgrade(self, faster: Runtime) -> None:
        """Leave a loaded session of the same model, to be taken up at the next frame."""
        with self._lock:
            if not self._closed and self._next is None:
                self._next = faster
                return
        faster.close()

    def run(self, tensor: NDArray[Any]) -> NDArray[np.float32]:
        """Return scores f32[K] for one preprocessed frame.

        Raises:
            BadModel: the session failed on this input.
        """
        scores = self._present.run(tensor)
        # Read without the lock, for it is read on every frame: a session left just now is seen at the next one.
        if self._next is not None:
            self._take_up(tensor, scores)
        return scores

    def activation_map(self, index: int) -> NDArray[np.float32] | None:
        """Return where the session that answers now looked at the last frame, f32[h,w]; None where it does not say."""
        return self._present.activation_map(index)

    def close(self) -> None:
        """Free the model's memory."""
        with self._lock:
            self._closed = True
            faster, self._next = self._next, None
        if faster is not None:
            faster.close()
        self._present.close()

    def _take_up(self, tensor: NDArray[Any], scores: NDArray[np.float32]) -> None:
        with self._lock:
            faster, self._next = self._next, None
        if faster is None:
            return
        why = _differs(faster, tensor, scores)
        if why:
            faster.close()
            self._say(f"the faster session {why}: it is not used")
            return
        before, self._present = self._present, faster
        before.close()
        self.upgraded = True
        self._say("the model now runs on its TensorRT engine")


def _differs(faster: Runtime, tensor: NDArray[Any], scores: NDArray[np.float32]) -> str:
    try:
        other = faster.run(tensor)
    except BadModel as error:
        return f"fails on a frame ({error.one_line()})"
    allowed = _TOLERANCE * max(1.0, float(np.max(np.abs(scores))))
    if other.shape != scores.shape or not np.all(np.isfinite(other)):
        return "gives no usable scores"
    difference = float(np.max(np.abs(other - scores)))
    return "" if difference <= allowed else f"differs by {difference:.3g} on a live frame"
