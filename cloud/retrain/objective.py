"""What training minimises, for each head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from cloud.retrain.models.output import ModelOutput
from cloud.retrain.run_folder import Recipe


@dataclass(frozen=True, slots=True)
class Targets:
    """What a batch should be answered with.

    `labels`: i64[N], each image's first label. `every`: f32[N,K], 1 where an image has the label, for MULTI. `masks`: f32[N,1,h,w],
    1 where the defect is, and `masked` bool[N], which images have one, for SEGMENT. `teacher`: logits f32[N,K] to learn from too.
    """

    labels: torch.Tensor
    every: torch.Tensor | None = None
    masks: torch.Tensor | None = None
    masked: torch.Tensor | None = None
    teacher: torch.Tensor | None = None


def loss_of(output: ModelOutput, targets: Targets, recipe: Recipe) -> torch.Tensor:
    """Return the mean loss of a batch, a scalar."""
    return functional.cross_entropy(output.scores, targets.labels, label_smoothing=recipe.label_smoothing)


def right_of(output: ModelOutput, targets: Targets, recipe: Recipe) -> torch.Tensor:
    """Return bool[N]: which images are named right."""
    return output.scores.argmax(1) == targets.labels
