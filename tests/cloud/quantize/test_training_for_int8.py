"""A network whose channels differ so wildly in range that rounding it afterwards spoils it, and fine-tuning mends that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cloud.quantize.artefact_runner import open_session
from cloud.quantize.int8 import prepare, quantize, save_model
from cloud.quantize.qat import fine_tune
from cloud.quantize.ranges import Calibration, measure_ranges, with_ranges
from cloud.quantize.scheme import Scheme
from cloud.retrain.models.output import ModelOutput
from cloud.retrain.objective import Targets
from cloud.retrain.run_records import Recipe
from cloud.retrain.tensors import scale
from contract.errors import BadModel
from contract.preprocess import PreprocessSpec
from tests.cloud.quantize.onnx_of_torch import export_two_layers

SPEC = PreprocessSpec(8, 8, 1, (0.0,), (1.0,))
RECIPE = Recipe(batch_size=32, warm_learning_rate=3e-3, shift_px=0, label_smoothing=0.0, weight_decay=0.0)


class Lopsided(nn.Module):
    """Two convolutions; the first makes one channel of huge values that the second does not look at, and one of small values that
    decides. One range for both leaves the small ones a step or two."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3, padding=1)
        self.head = nn.Conv2d(2, 2, 8)
        with torch.no_grad():
            self.first.weight.zero_()
            self.first.bias.zero_()
            self.first.weight[0, 0, 1, 1] = 100.0
            self.first.weight[1, 0, 1, 1] = 1.0
            self.head.weight.zero_()
            # Whether the middle is brighter than the rest (a flip changes nothing): answered from the small channel alone.
            self.head.weight[0, 1] = -1 / 3
            self.head.weight[0, 1, 2:6, 2:6] = 1.0
            self.head.weight[1] = -self.head.weight[0]
            self.head.bias.zero_()

    def forward(self, images: torch.Tensor) -> ModelOutput:
        return ModelOutput(self.head(torch.relu(self.first(images))).flatten(1))


def _pictures(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(60, 110, (count, 1, 8, 8), generator=generator).float()
    middle = pixels[..., 2:6, 2:6].sum((1, 2, 3))
    labels = (middle < (pixels.sum((1, 2, 3)) - middle) / 3).long()
    return pixels.to(torch.uint8), labels


def _accuracy(model: nn.Module, folder: Path, scheme: Scheme, known: dict[str, tuple[float, float]] | None) -> float:
    """Return the int8 model's accuracy, with the ranges of training where there are such."""
    export_two_layers(model, folder / "fp32.onnx")
    pixels, labels = _pictures(400, 2)
    tensors = [scale(pixels[n : n + 1], SPEC).numpy() for n in range(16)]
    prepared = prepare(folder / "fp32.onnx", scheme)
    ranges = measure_ranges(prepared.rounded, tensors, Calibration.MINMAX, scheme)
    save_model(quantize(prepared, with_ranges(ranges, known or {})), folder / "int8.onnx")
    session = open_session(folder / "int8.onnx", threads=1)
    scores = session.run(None, {"images": scale(pixels, SPEC).numpy()})[0]
    return float((scores.argmax(1) == labels.numpy()).mean())


@pytest.mark.parametrize("scheme", list(Scheme))
def test_fine_tuning_mends_a_model_that_rounding_spoils(tmp_path: Path, scheme: Scheme) -> None:
    torch.set_num_threads(1)
    model = Lopsided()
    spoilt = _accuracy(model, tmp_path, scheme, None)
    pixels, labels = _pictures(600, 1)
    ranges = fine_tune(model, pixels, Targets(labels), SPEC, RECIPE, steps=150, scheme=scheme, seed=0)
    assert set(ranges.by_weight) == {"first.weight", "head.weight"}
    export_two_layers(model, tmp_path / "fp32.onnx")
    tensors = ranges.by_tensor(prepare(tmp_path / "fp32.onnx", scheme).plain)
    mended = _accuracy(model, tmp_path, scheme, tensors)
    assert spoilt < 0.85 and mended > spoilt + 0.08, (spoilt, mended)
    # Its weights stand on the grid: rounding them once more changes nothing.
    steps = 64 if scheme is Scheme.U8S8 else 127
    codes = model.first.weight.detach().numpy().reshape(2, -1)
    codes = codes / np.abs(codes).max(1, keepdims=True) * steps
    assert np.abs(codes - np.rint(codes)).max() < 1e-3


def test_network_without_weighted_layers_is_refused() -> None:
    pixels, labels = _pictures(8, 0)
    with pytest.raises(BadModel, match="no layer with weights"):
        fine_tune(nn.ReLU(), pixels, Targets(labels), SPEC, RECIPE, steps=1, scheme=Scheme.U8S8, seed=0)
