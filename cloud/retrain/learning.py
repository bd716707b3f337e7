"""What changes a model's weights from step to step, and everything of it that a checkpoint must hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cloud.retrain.early_stop import EarlyStop
from cloud.retrain.evaluation import Evaluation
from cloud.retrain.objective import Targets
from cloud.retrain.parent_pull import ParentPull
from cloud.retrain.rate_schedule import make_schedule
from cloud.retrain.run_records import Recipe
from cloud.retrain.train_step import Gradients
from cloud.retrain.weight_average import WeightAverage


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done: `steps` in all; `rate`, the highest; `pull` toward the parent, 0 for none."""

    steps: int
    rate: float
    pull: float = 0.0


class Learning:
    """Optimizer, schedule, pull, average and early stop of one run over `model`, which has the parent's weights or fresh ones."""

    def __init__(self, model: nn.Module, recipe: Recipe, plan: Plan, gradients: Gradients) -> None:
        """`gradients` fills those of `model`."""
        self._model, self._gradients = model, gradients
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=plan.rate, weight_decay=recipe.weight_decay)
        self._schedule = make_schedule(recipe.schedule, self._optimizer, plan.rate, plan.steps)
        self._pull = ParentPull(model, plan.pull, plan.steps)
        self._average = WeightAverage(model, recipe.ema) if recipe.ema > 0 else None
        self.stop = EarlyStop(recipe.patience)
        self._parts: dict[str, Any] = {"optimizer": self._optimizer, "schedule": self._schedule, "stop": self.stop}
        if self._average is not None:
            self._parts["average"] = self._average

    @property
    def rate(self) -> float:
        """Return the learning rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self, images: torch.Tensor, targets: Targets, number: int) -> torch.Tensor:
        """Take the step `number`, from 0, and return its loss, a detached scalar. Raises: as `Gradients.fill`."""
        loss = self._gradients.fill(images, targets)
        self._pull.step(self._optimizer, number)
        self._schedule.step()
        if self._average is not None:
            self._average.update(self._model, number)
        return loss

    def look(
        self, evaluate: Callable[[nn.Module], Evaluation | None], steps_done: int
    ) -> tuple[Evaluation | None, bool]:
        """Return how good the weights are that would be kept now, and whether training should stop."""
        if steps_done < self._pull.settled_at:
            # Weights from before it is decided which of them move would be no small delta: they are not worth keeping.
            return None, False
        found = evaluate(self._settled())
        return found, found is not None and self.stop.look(found, self._settled(), steps_done)

    def end(self) -> None:
        """Give the model the weights to keep: the average if there is one, the best if they were watched."""
        kept = self._settled()
        if kept is not self._model:
            self._model.load_state_dict(kept.state_dict())
        self.stop.restore_best(self._model)

    def parts(self) -> dict[str, Any]:
        """Return what `load_parts` takes, for a checkpoint beside the model's weights."""
        return {**{name: part.state_dict() for name, part in self._parts.items()}, "pieces": self._gradients.pieces}

    def load_parts(self, parts: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        for name, part in self._parts.items():
            part.load_state_dict(parts[name])
        self._gradients.pieces = int(parts["pieces"])

    def _settled(self) -> nn.Module:
        if self._average is None:
            return self._model
        self._pull.settle(self._average.module)
        return self._average.module
