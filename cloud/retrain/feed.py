"""The batches of a run, augmented: a step's batch depends on the seed and the step alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cloud.retrain.answers import Answers
from cloud.retrain.augment import draw_moves, move
from cloud.retrain.batches import BatchPlan, step_generator
from cloud.retrain.camera_change import CameraChange, change_images
from cloud.retrain.objective import Targets
from cloud.retrain.place import Place
from cloud.retrain.run_records import Recipe
from cloud.retrain.tensors import ImageTensors, scale
from contract.preprocess import PreprocessSpec

# A change is shown between half and one and a half times as strong as it was seen: cameras are never quite alike again.
_WEAKEST, _STRONGEST = 0.5, 1.5


@dataclass(frozen=True, slots=True)
class Feed:
    """What batches are made of. `changes`: what cameras were seen to do; `recipe.seen_drift` of the base images are shown so.
    `is_base`: bool[N] by row."""

    tensors: ImageTensors
    answers: Answers
    plan: BatchPlan
    spec: PreprocessSpec
    recipe: Recipe
    seed: int
    is_base: torch.Tensor
    changes: tuple[CameraChange, ...] = ()

    def batch(self, step: int, place: Place) -> tuple[torch.Tensor, Targets]:
        """Return this process's images f32[N,C,h,w] of one step, scaled, and their targets."""
        rows = place.share(self.plan.batch(step))
        pixels = self.tensors.pixels[rows].to(place.device)
        if self.changes and self.recipe.seen_drift > 0:
            pixels = self._drifted(pixels, rows, step_generator(self.seed, step, 16 + place.rank % 8))
        moves = draw_moves(len(rows), self.recipe.shift_px, step_generator(self.seed, step, place.rank % 8))
        return move(scale(pixels, self.spec), moves), self.answers.at(rows, place.device, moves)

    def _drifted(self, pixels: torch.Tensor, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        chosen = self.is_base[rows] & (torch.rand(len(rows), generator=generator) < self.recipe.seen_drift)
        which = int(torch.randint(len(self.changes), (1,), generator=generator))
        factor = _WEAKEST + (_STRONGEST - _WEAKEST) * float(torch.rand(1, generator=generator))
        if not chosen.any():
            return pixels
        images = pixels.float()
        at = torch.nonzero(chosen).flatten().to(pixels.device)
        images[at] = change_images(images[at], self.changes[which].scaled(factor), generator)
        return images
