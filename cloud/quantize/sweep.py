"""Every calibration tried for one scheme, judged on the calibration split, and the best of them kept."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import TensorsData

from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.int8 import Prepared, quantize, save_model
from cloud.quantize.measure import share_equal
from cloud.quantize.ranges import Calibration, measure_ranges
from cloud.quantize.slices import Slices
from cloud.retrain.progress import OnProgress, Progress
from cloud.retrain.run_records import SweepFigures
from contract.errors import BadModel
from contract.preprocess import PreprocessSpec


@dataclass(frozen=True, slots=True)
class Made:
    """An int8 model at temperature 1, how it was made, and its accuracy on the calibration split."""

    prepared: Prepared
    model: onnx.ModelProto
    method: Calibration
    ranges: TensorsData
    accuracy: float
    excluded: tuple[str, ...] = ()
    qat_steps: int = 0

    def said(self) -> str:
        """Return in words how it was calibrated."""
        parts = [self.method.value]
        parts += [f"{self.qat_steps} steps of quantization-aware training"] if self.qat_steps else []
        parts += [f"{len(self.excluded)} nodes in full precision"] if self.excluded else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Judge:
    """Scores models on the calibration split. `reference`: full precision's scores there, f32[N,K], at temperature 1."""

    slices: Slices
    spec: PreprocessSpec
    threads: int
    reference: NDArray[np.float32]

    def scores(self, model: onnx.ModelProto) -> NDArray[np.float32]:
        """Return a model's scores f32[N,K] on the calibration split."""
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "judged.onnx"
            save_model(model, file)
            return ArtefactRunner(file, self.spec, threads=self.threads).scores(self.slices.judging_pixels)

    def accuracy(self, model: onnx.ModelProto) -> float:
        """Return a model's accuracy on the calibration split."""
        return self.slices.accuracy(self.scores(model), self.slices.judging)

    def agreement(self, scores: NDArray[np.float32]) -> float:
        """Return the share of images that are named as full precision names them."""
        return share_equal(scores.argmax(1), self.reference.argmax(1))

    def reference_accuracy(self) -> float:
        """Return full precision's accuracy on the calibration split."""
        return self.slices.accuracy(self.reference, self.slices.judging)


def sweep(
    prepared: Prepared,
    tensors: Sequence[NDArray[Any]],
    methods: Sequence[Calibration],
    judge: Judge,
    on_progress: OnProgress,
    *,
    exclude: tuple[str, ...] = (),
) -> tuple[Made, tuple[SweepFigures, ...]]:
    """Return the best of `methods`, and the figures of all, best first.

    Accuracy first; among equals the one closest to full precision; among those the first, which is the cheapest.

    Args:
        tensors: calibration inputs, f32[1,C,h,w] each.
        exclude: nodes that stay in full precision.
    Raises:
        BadModel: none gives a model.
    """
    scheme = prepared.scheme.value
    tried: list[tuple[SweepFigures, Made | None]] = []
    for number, method in enumerate(methods):
        on_progress(Progress("quantize", number, len(methods), f"{scheme} {method.value}"))
        try:
            ranges = measure_ranges(prepared.rounded, tensors, method, prepared.scheme)
            model = quantize(prepared, ranges, exclude)
            scores = judge.scores(model)
        except BadModel as error:
            tried.append((SweepFigures(method.value, 0.0, 0.0, error.message, scheme), None))
            continue
        accuracy = judge.slices.accuracy(scores, judge.slices.judging)
        figures = SweepFigures(method.value, judge.agreement(scores), accuracy, scheme=scheme)
        tried.append((figures, Made(prepared, model, method, ranges, accuracy, exclude)))
    tried.sort(key=lambda t: (t[1] is None, -t[0].accuracy, -t[0].agreement_with_fp32))
    best = tried[0][1]
    if best is None:
        hint = "mend what it names; where only some methods fail, try --methods minmax"
        raise BadModel(f"no calibration gave an {scheme} model: {tried[0][0].failure}", hint=hint)
    return best, tuple(figures for figures, _ in tried)
