"""Scores to a prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.errors import BadModel
from contract.manifest import Label, LabelKind, OutputKind

# Quantized probabilities are off by up to half a step of 1/256.
_ROUNDING = 0.01
# An independent label is seen from here.
_SEEN = 0.5


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one frame.

    `confidence` is the probability of `label`; `good` is the probability mass on GOOD labels, 0..1. `also` are further DEFECT
    labels that the model sees beside `label`, likeliest first; only a model of INDEPENDENT labels sees more than one.
    """

    index: int
    label: Label
    confidence: float
    good: float
    also: tuple[Label, ...] = ()


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities f32[...,K] of `logits` f32[...,K]."""
    # f64: the difference of two finite f32 may overflow an f32.
    wide = np.asarray(logits, np.float64)
    shifted = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)


def _softmax_of_one(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what `softmax` returns of f32[K], with half the calls: after a model each finds empty caches."""
    wide = np.array(logits, np.float64)
    wide -= max(wide.tolist())
    np.exp(wide, out=wide)
    wide /= np.add.reduce(wide)
    return wide.astype(np.float32)


def decode(scores: NDArray[np.float32], labels: Sequence[Label], output: OutputKind) -> Prediction:
    """Return the prediction in one frame's `scores` f32[K].

    Raises:
        BadModel: the scores are not K finite numbers, or PROBABILITIES are not each 0 to 1 within rounding. "No answer
            because something broke" is never "no defect".
    """
    if not labels or scores.shape != (len(labels),):
        raise BadModel(f"the model gave {list(scores.shape)} scores for {len(labels)} labels")
    if not all(map(math.isfinite, scores.tolist())):
        raise BadModel("the model gave NaN or infinite scores")
    if output is OutputKind.LOGITS:
        probabilities = _softmax_of_one(scores)
    elif scores.min() < -_ROUNDING or scores.max() > 1.0 + _ROUNDING:
        # Logits called probabilities would pass any threshold.
        raise BadModel(
            f"the model gave 'probabilities' from {scores.min():.3g} to {scores.max():.3g}",
            hint="its manifest should say that it gives logits",
        )
    else:
        probabilities = scores
    index = int(probabilities.argmax())
    if output is OutputKind.INDEPENDENT:
        return _independent(probabilities, index, labels)
    shares = probabilities.tolist()
    good = sum(p for p, label in zip(shares, labels, strict=True) if label.kind is LabelKind.GOOD)
    # A sum of rounded shares may pass 1, and with it a threshold that says "never".
    return Prediction(index, labels[index], _share(shares[index]), _share(good))


def likeliest_defect(scores: NDArray[np.float32], labels: Sequence[Label]) -> int | None:
    """Return the place of the DEFECT label with the largest of `scores` f32[K], whatever label is named; None without any."""
    defects = [i for i, label in enumerate(labels) if label.kind is LabelKind.DEFECT]
    return defects[int(scores[defects].argmax())] if defects else None


def _independent(probabilities: NDArray[np.float32], index: int, labels: Sequence[Label]) -> Prediction:
    defects = [i for i, label in enumerate(labels) if label.kind is LabelKind.DEFECT]
    seen = sorted((i for i in defects if probabilities[i] >= _SEEN and i != index), key=lambda i: -probabilities[i])
    # Whatever a model says of its GOOD label: the surest defect bounds how good a part can be.
    worst = max((float(probabilities[i]) for i in defects), default=0.0)
    good = 1.0 - worst if len(defects) < len(labels) else 0.0
    also = tuple(labels[i] for i in seen)
    return Prediction(index, labels[index], _share(float(probabilities[index])), _share(good), also)


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0)
