"""How well a network answers images that are not learnt from at that moment."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from cloud.retrain.answers import Answers
from cloud.retrain.objective import loss_of, right_of
from cloud.retrain.place import Place
from cloud.retrain.run_folder import Recipe
from cloud.retrain.tensors import ImageTensors, scale
from contract.preprocess import PreprocessSpec

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`accuracy`: share of images named right, 0..1. `loss`: their mean loss."""

    accuracy: float
    loss: float


@dataclass(frozen=True, slots=True)
class HeldImages:
    """Images to judge a network by, and what it should answer."""

    tensors: ImageTensors
    answers: Answers
    spec: PreprocessSpec
    recipe: Recipe


def evaluate(model: nn.Module, images: HeldImages, place: Place, good: tuple[int, ...] = ()) -> Evaluation | None:
    """Return how well `model` does in evaluation mode, in fp32; None when there are no images."""
    count = len(images.tensors)
    if count == 0:
        return None
    model.eval()
    right, loss = 0, 0.0
    with torch.no_grad():
        for rows in torch.split(torch.arange(count), _BATCH):
            pixels = images.tensors.pixels[rows].to(place.device)
            output = model(scale(pixels, images.spec).contiguous(memory_format=torch.channels_last))
            targets = images.answers.at(rows, place.device)
            right += int(right_of(output, targets, images.recipe).sum())
            loss += float(loss_of(output, targets, images.recipe, good=good)) * len(rows)
    return Evaluation(right / count, loss / count)
