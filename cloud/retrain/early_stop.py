"""Stops a run that no longer gains on images it does not learn from, and keeps the best weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cloud.retrain.evaluation import Evaluation


class EarlyStop:
    """Looks at evaluations. Higher accuracy is a gain; so is a lower loss at the same accuracy: a small split has few."""

    def __init__(self, patience: int) -> None:
        """`patience`: evaluations without gain after which the run should stop; 0 never stops and keeps nothing."""
        self._patience = patience
        self._best = (-1.0, float("-inf"))
        self._since = 0
        self._step = 0
        self._weights: dict[str, torch.Tensor] = {}

    @property
    def best_step(self) -> int:
        """Return how many steps the best weights had seen; 0 when nothing was looked at."""
        return self._step

    def look(self, evaluation: Evaluation, model: nn.Module, steps_done: int) -> bool:
        """Take in one evaluation of `model`; return whether the run should stop."""
        if self._patience == 0:
            return False
        now = (evaluation.accuracy, -evaluation.loss)
        if now > self._best:
            self._best, self._since, self._step = now, 0, steps_done
            self._weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
        else:
            self._since += 1
        return self._since >= self._patience

    def restore_best(self, model: nn.Module) -> None:
        """Give `model` the best weights seen, if any were."""
        if self._weights:
            model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes."""
        return {"best": list(self._best), "since": self._since, "step": self._step, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        accuracy, loss = state["best"]
        self._best, self._since, self._step = (accuracy, loss), state["since"], state["step"]
        self._weights = state["weights"]
