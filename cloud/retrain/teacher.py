"""A finished run whose answers a new model learns from too (distillation: Hinton, Vinyals, Dean 2015, arXiv 1503.02531)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from cloud.retrain.network import network_of
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import Recipe
from contract.errors import InvalidConfig
from contract.manifest import Label
from contract.preprocess import PreprocessSpec


class Teacher:
    """Answers a batch as the student sees it, in the order of the student's labels."""

    def __init__(
        self, run: RunFolder, labels: Sequence[Label], spec: PreprocessSpec, recipe: Recipe, device: torch.device
    ) -> None:
        """Load `run`, to teach a student of these labels, preprocessing and recipe.

        Raises:
            NotFound, BadModel: `run` is no finished run, or damaged.
            InvalidConfig: it knows other labels, or has another head.
        """
        info = run.info()
        names, known = [label.name for label in labels], [label.name for label in info.labels]
        if sorted(names) != sorted(known):
            apart = ", ".join(sorted(set(names) ^ set(known)))
            raise InvalidConfig(
                f"--teacher {run.root} knows other labels: {apart}", hint="a teacher must be trained on the same labels"
            )
        if info.recipe.head is not recipe.head and "multi" in {info.recipe.head.value, recipe.head.value}:
            raise InvalidConfig(
                f"--teacher {run.root} has head {info.recipe.head.value}, the student {recipe.head.value}",
                hint="choose a teacher with the same --head",
            )
        self._columns = torch.tensor([known.index(name) for name in names], device=device)
        self._model = network_of(run).eval().requires_grad_(False).to(device)
        self._own, self._students = info.preprocess, spec

    def answer(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits f32[N,K] for images f32[N,C,h,w] in the student's preprocessing."""
        with torch.no_grad():
            scores: torch.Tensor = self._model(self._translate(images)).scores
        return scores.float()[:, self._columns]

    def _translate(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images as the teacher's preprocessing would give them."""
        own, students = self._own, self._students
        if own == students:
            return images
        grey = images * _channels(students.std, images) + _channels(students.mean, images)
        if own.channels != students.channels:
            luma = torch.tensor([0.299, 0.587, 0.114], device=images.device)[:, None, None]
            grey = grey.expand(-1, 3, -1, -1) if own.channels == 3 else (grey * luma).sum(1, keepdim=True)
        if (own.height, own.width) != tuple(grey.shape[2:]):
            grey = functional.interpolate(grey, (own.height, own.width), mode="bilinear", antialias=True)
        return (grey - _channels(own.mean, images)) / _channels(own.std, images)


def _channels(values: tuple[float, ...], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]
