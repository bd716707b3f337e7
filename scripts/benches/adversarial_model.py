"""The model that `bench adversarial` attacks: the product's small network, trained on simulated parts, as it runs on a station.

Parts are as large as the model's input, so that what an attacker changes is what the model sees. The gradient is taken through the
full-precision network; what is judged is the int8 artefact, by thresholds with a guarantee, and after the refusal of strange ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from agent.decide.familiar import Familiar
from agent.decide.thresholds import decide
from agent.decide.unfamiliar import RefusalLimit, frames_needed
from agent.sources.surface import LABELS, surface
from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.int8 import quantize_int8
from cloud.quantize.ranges import Calibration
from cloud.quantize.thresholds import choose_thresholds
from cloud.retrain.export import export_onnx
from cloud.retrain.models.surface import SurfaceNet
from contract.decode import decode, softmax
from contract.manifest import Label, LabelKind, OutputKind, Thresholds
from contract.messages import Verdict
from contract.preprocess import PreprocessSpec
from contract.sketches.frame_stats import frame_stats

U8 = NDArray[np.uint8]

SIDE = 64
SPEC = PreprocessSpec(height=SIDE, width=SIDE, channels=1, mean=(0.5,), std=(0.25,))
GOOD = LABELS.index("good")
KINDS = tuple(Label(name, LabelKind.GOOD if name == "good" else LabelKind.DEFECT) for name in LABELS)
ENROLLED, RATE = 256, 0.01
_WIDTH, _BATCH, _RATE = 0.5, 32, 4e-3


def parts(seed: int, count: int) -> tuple[U8, NDArray[np.int64]]:
    """Return simulated parts u8[count,64,64] and their labels' places."""
    made = [surface(seed, index, SIDE, SIDE) for index in range(count)]
    return np.stack([pixels for pixels, _ in made]), np.array([LABELS.index(name) for _, name in made])


def scaled(pixels: torch.Tensor) -> torch.Tensor:
    """Return grey levels f32[N,1,h,w] in 0..255 as the network takes them."""
    return (pixels / 255.0 - SPEC.mean[0]) / SPEC.std[0]


def tensor_of(pixels: U8) -> torch.Tensor:
    """Return u8[N,h,w] as grey levels f32[N,1,h,w]."""
    return torch.from_numpy(pixels.astype(np.float32))[:, None]


@dataclass(frozen=True, slots=True)
class Shares:
    """What share of some parts passes: by the int8 model's first guess, by its thresholds too, and after the refusal too."""

    bare: float
    thresholds: float
    refusal: float


class Line:
    """A station's decision on parts, without the station: int8 artefact, thresholds, refusal."""

    def __init__(self, network: nn.Module, folder: Path, seed: int) -> None:
        """Export and quantize `network` into `folder`; choose thresholds, and learn what is familiar, on parts of `seed` on."""
        calibration, truth = parts(seed, 400)
        fp32, int8 = folder / "fp32.onnx", folder / "int8.onnx"
        export_onnx(network, scaled(tensor_of(calibration[:8])), fp32, outputs=("scores",))
        tensors = [scaled(tensor_of(calibration[n : n + 1])).numpy() for n in range(64)]
        quantize_int8(fp32, int8, tensors, Calibration.MINMAX)
        self._runner = ArtefactRunner(int8, SPEC, threads=1)
        scores = self._runner.scores(list(calibration))
        self.thresholds: Thresholds = choose_thresholds(softmax(scores), truth, KINDS)
        self._familiar, self._limit = Familiar(ENROLLED), RefusalLimit(RATE)
        seen, _ = parts(seed + 1, ENROLLED + frames_needed(RATE))
        for number, pixels in enumerate(seen):
            values = frame_stats(pixels).values
            if number < ENROLLED:
                self._familiar.add(values)
            else:
                self._limit.learn(self._familiar.distance(values))

    def named(self, pixels: U8) -> NDArray[np.int64]:
        """Return the places of the labels that the artefact names, i64[N]."""
        return np.asarray(self._runner.scores(list(pixels)).argmax(1), np.int64)

    def passes(self, pixels: U8) -> Shares:
        """Return what share of these parts passes."""
        scores = self._runner.scores(list(pixels))
        sure = [
            decide(decode(each, KINDS, OutputKind.LOGITS), self.thresholds).verdict is Verdict.PASS for each in scores
        ]
        far = [self._limit.refuses(self._familiar.distance(frame_stats(each).values)) for each in pixels]
        passed = np.array(sure)
        return Shares(
            float((scores.argmax(1) == GOOD).mean()), float(passed.mean()), float((passed & ~np.array(far)).mean())
        )


def train(seed: int, count: int, steps: int) -> nn.Module:
    """Return the product's small network, trained `steps` batches on `count` parts."""
    torch.manual_seed(seed)
    pixels, truth = parts(seed, count)
    images, labels = scaled(tensor_of(pixels)), torch.from_numpy(truth)
    network = SurfaceNet(1, len(LABELS), width=_WIDTH, input_px=SIDE)
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(count, (_BATCH,), generator=draw)
        batch = images[rows]
        if torch.rand((), generator=draw) < 0.5:
            batch = batch.flip(3)
        loss = functional.cross_entropy(network(batch).scores, labels[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network.eval()
