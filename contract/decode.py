"""Scores to a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.errors import BadModel
from contract.manifest import Label, LabelKind, OutputKind


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one frame.

    `confidence` is the probability of `label`; `good` is the probability mass on GOOD labels, 0..1.
    """

    index: int
    label: Label
    confidence: float
    good: float


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities f32[...,K] of `logits` f32[...,K]."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)


def decode(scores: NDArray[np.float32], labels: Sequence[Label], output: OutputKind) -> Prediction:
    """Return the prediction in one frame's `scores` f32[K].

    Raises:
        BadModel: the scores are not K finite numbers. "No answer because something broke" is never "no defect".
    """
    if scores.shape != (len(labels),):
        raise BadModel(f"the model gave {list(scores.shape)} scores for {len(labels)} labels")
    if not np.isfinite(scores).all():
        raise BadModel("the model gave NaN or infinite scores")
    probabilities = softmax(scores) if output is OutputKind.LOGITS else scores
    index = int(probabilities.argmax())
    good = sum(float(p) for p, label in zip(probabilities, labels, strict=True) if label.kind is LabelKind.GOOD)
    return Prediction(index, labels[index], float(probabilities[index]), good)
