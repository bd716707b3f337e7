"""How well a network answers images that are not learnt from at that moment."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from cloud.retrain.answers import Answers
from cloud.retrain.objective import loss_of, right_of
from cloud.retrain.place import Place
from cloud.retrain.run_records import Recipe
from cloud.retrain.tensors import ImageTensors, scale
from contract.preprocess import PreprocessSpec

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`accuracy`: share of images named right, 0..1. `loss`: their mean loss. `named` and `asked`: of each label, in the model's
    order, how many images whose first label it is were named right, and how many there are."""

    accuracy: float
    loss: float
    named: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()


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
    loss = 0.0
    rights: list[torch.Tensor] = []
    with torch.no_grad():
        for rows in torch.split(torch.arange(count), _BATCH):
            pixels = images.tensors.pixels[rows].to(place.device)
            output = model(scale(pixels, images.spec).contiguous(memory_format=torch.channels_last))
            targets = images.answers.at(rows, place.device)
            rights.append(right_of(output, targets, images.recipe).cpu())
            loss += float(loss_of(output, targets, images.recipe, good=good)) * len(rows)
    right, labels, classes = torch.cat(rights), images.tensors.labels, output.scores.shape[1]
    named, asked = (torch.bincount(each, minlength=classes).tolist() for each in (labels[right], labels))
    return Evaluation(int(right.sum()) / count, loss / count, tuple(named), tuple(asked))
