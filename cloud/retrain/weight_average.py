"""An exponential moving average of the weights while they are learnt; it is often better than any of those it averages.

The first steps count less (decay (1 + t) / (10 + t) until that passes the recipe's), so that a short run does not keep its start.
Batch norm's statistics are averaged with the same decay, so that they belong to the averaged weights; its counters are copied.

Source: Polyak, Juditsky 1992; the early decay as in TensorFlow's ExponentialMovingAverage(num_updates).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """The average of one run. `module` is a copy of the network that holds it."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights of `model` after the step `step`, from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, now in zip(self.module.state_dict().values(), model.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - decay)
                else:
                    mean.copy_(now)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes."""
        return self.module.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved average."""
        self.module.load_state_dict(state)
