"""What training minimises, for each head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from cloud.retrain.models.output import ModelOutput
from cloud.retrain.run_records import Head, Recipe
from contract.errors import InvalidConfig

# Softens a teacher's answers so that what it thinks of the other labels is heard; Hinton et al. tried 1 to 20.
_TEMPERATURE = 4.0


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


def loss_of(output: ModelOutput, targets: Targets, recipe: Recipe, *, good: tuple[int, ...] = ()) -> torch.Tensor:
    """Return the mean loss of a batch, a scalar f32.

    SINGLE and SEGMENT: cross-entropy with label smoothing. MULTI: binary cross-entropy of each DEFECT label (`good` are the
    places of the others, which follow from them). With a teacher, `recipe.distil` of it is replaced by the distance to the
    teacher's answers. SEGMENT adds `recipe.mask_weight` times the masks' loss.

    Raises:
        InvalidConfig: MULTI without `targets.every`.
    """
    # Under bf16 a loss summed over thousands of places would lose its small parts.
    output = ModelOutput(*(None if part is None else part.float() for part in output))  # type: ignore[arg-type]
    multi = recipe.head is Head.MULTI
    defects = [k for k in range(output.scores.shape[1]) if k not in good] if multi and good else slice(None)
    loss = _multi(output, targets, recipe, defects) if multi else _single(output, targets, recipe)
    if targets.teacher is not None and recipe.distil > 0:
        teacher = targets.teacher.float()
        taught = (
            _taught_multi(output.scores[:, defects], teacher[:, defects]) if multi else _taught(output.scores, teacher)
        )
        loss = (1 - recipe.distil) * loss + recipe.distil * taught
    if recipe.head is Head.SEGMENT and output.mask is not None and targets.masks is not None:
        loss = loss + recipe.mask_weight * _mask_loss(output.mask, targets.masks.float(), targets.masked)
    return loss


def right_of(output: ModelOutput, targets: Targets, recipe: Recipe) -> torch.Tensor:
    """Return bool[N]: which images are named right, as the gate judges: the surest label is one of the image's."""
    named = output.scores.argmax(1)
    if recipe.head is Head.MULTI and targets.every is not None:
        return targets.every.gather(1, named[:, None])[:, 0] > 0
    return named == targets.labels


def _single(output: ModelOutput, targets: Targets, recipe: Recipe) -> torch.Tensor:
    return functional.cross_entropy(output.scores, targets.labels, label_smoothing=recipe.label_smoothing)


def _multi(output: ModelOutput, targets: Targets, recipe: Recipe, defects: list[int] | slice) -> torch.Tensor:
    if targets.every is None:
        raise InvalidConfig("a multi-label model learns from every label of an image, and was given one")
    # Smoothing draws a label's target towards undecided, 1/2, as it does among K labels towards 1/K.
    wanted = targets.every[:, defects].float() * (1 - recipe.label_smoothing) + recipe.label_smoothing / 2
    return functional.binary_cross_entropy_with_logits(output.scores[:, defects], wanted)


def _taught(scores: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return KL(teacher || student) of softened answers.

    Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network", section 2: gradients of softened answers shrink
    by 1/T^2, so the loss is multiplied by T^2 to keep its share when T changes.
    """
    student = functional.log_softmax(scores / _TEMPERATURE, 1)
    return _TEMPERATURE**2 * functional.kl_div(
        student, functional.log_softmax(teacher / _TEMPERATURE, 1), reduction="batchmean", log_target=True
    )


def _taught_multi(scores: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the same for independent labels: the mean KL of each label's softened yes or no."""
    soft = torch.sigmoid(teacher / _TEMPERATURE)
    least = functional.binary_cross_entropy_with_logits(teacher / _TEMPERATURE, soft)
    return _TEMPERATURE**2 * (functional.binary_cross_entropy_with_logits(scores / _TEMPERATURE, soft) - least)


def _mask_loss(logits: torch.Tensor, masks: torch.Tensor, masked: torch.Tensor | None) -> torch.Tensor:
    """Return binary cross-entropy plus dice of the images that have a mask; 0 when none has.

    A place of the coarse mask is defect when any pixel in it is. Dice (Milletari et al. 2016, "V-Net", section 3) weighs
    a small defect as much as a large one, where cross-entropy alone is content to answer "nowhere".
    """
    wanted = functional.adaptive_max_pool2d(masks, (logits.shape[2], logits.shape[3]))
    each = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean((1, 2, 3))
    found = torch.sigmoid(logits)
    # The 1 keeps an empty mask that is found empty at no loss.
    overlap = (2 * (found * wanted).sum((1, 2, 3)) + 1) / (found.sum((1, 2, 3)) + wanted.sum((1, 2, 3)) + 1)
    each = each + 1 - overlap
    if masked is None:
        return each.mean()
    weight = masked.to(each.dtype)
    return (each * weight).sum() / weight.sum().clamp(min=1)
