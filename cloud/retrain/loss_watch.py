"""Sees that losses stay numbers, without making a GPU wait for each."""

from __future__ import annotations

import math

import torch

from contract.errors import BadModel

_HINT = "use a lower --learning-rate, in a new folder; the checkpoint here is from before"
# A GPU's losses are looked at together; a CPU's cost nothing to look at.
_TOGETHER = 32


class LossWatch:
    """Takes each step's loss; the first that is no number ends the run."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, torch.Tensor]] = []
        self._last: tuple[int, float] | None = None

    def add(self, step: int, loss: torch.Tensor) -> None:
        """Take the loss of step `step`, counted from 1. Raises: as `look`."""
        self._waiting.append((step, loss))
        if loss.device.type == "cpu" or len(self._waiting) >= _TOGETHER:
            self.look()

    def look(self) -> float:
        """Look at every loss so far and return the last.

        Raises:
            BadModel: one of them is no number; the first is named.
        """
        if self._waiting:
            values = torch.stack([loss for _, loss in self._waiting]).tolist()
            for (step, _), value in zip(self._waiting, values, strict=True):
                if not math.isfinite(value):
                    raise BadModel(
                        f"training diverged: at step {step} the loss is {value}; {self._before()}", hint=_HINT
                    )
                self._last = (step, value)
            self._waiting.clear()
        return math.nan if self._last is None else self._last[1]

    def check_weights(self, weights: dict[str, torch.Tensor], step: int) -> None:
        """Check that every weight is a number.

        Raises:
            BadModel: one is not.
        """
        for name, tensor in weights.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise BadModel(
                    f"training diverged: after step {step} {name} is no number; {self._before()}", hint=_HINT
                )

    def _before(self) -> str:
        if self._last is None:
            return "no loss before was a number"
        step, value = self._last
        return f"the last good loss was {value:.4g} at step {step}"
