"""A run fine-tuned for int8 (cloud.quantize.qat), when rounding its model costs too much; taken only where it is better."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from cloud.quantize.int8 import prepare, quantize
from cloud.quantize.qat import TrainedRanges, fine_tune
from cloud.quantize.ranges import measure_ranges, with_ranges
from cloud.quantize.sweep import Judge, Made
from cloud.quantize.temperature import load_model, remove_temperature
from cloud.retrain.export import export_onnx
from cloud.retrain.network import good_places, network_of
from cloud.retrain.objective import Targets
from cloud.retrain.progress import OnProgress, Progress
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import Head
from cloud.retrain.tensors import scale, to_tensors

_EXAMPLES = 4
_SAY_EVERY = 20


@dataclass(frozen=True, slots=True)
class FineTuning:
    """What fine-tuning for int8 needs besides the model that fell short. `tensors` calibrate, as in the sweep."""

    run: RunFolder
    tensors: Sequence[NDArray[Any]]
    steps: int
    seed: int
    threads: int

    def carry_out(self, made: Made, judge: Judge, on_progress: OnProgress) -> tuple[Made, str]:
        """Return the fine-tuned int8 model where it is better than `made`, else `made`; and why in words, "" when it was.

        Raises:
            NotFound, BadModel: the run's checkpoint is gone or damaged, or fine-tuning diverged.
        """
        scheme = made.prepared.scheme
        with tempfile.TemporaryDirectory() as scratch:
            exported = Path(scratch) / "tuned.onnx"
            ranges = self._train(made, exported, judge, on_progress)
            prepared = prepare(exported, scheme)
        seen = measure_ranges(prepared.rounded, self.tensors, made.method, scheme)
        trained = with_ranges(seen, ranges.by_tensor(prepared.plain))
        # The ranges that it was trained with, and those calibrated anew: the better ones.
        options = [quantize(prepared, each, made.excluded) for each in (trained, seen)]
        accuracies = [judge.accuracy(model) for model in options]
        best = int(np.argmax(accuracies))
        if accuracies[best] <= made.accuracy:
            return made, f"{scheme.value}: {self.steps} steps of quantization-aware training made it no better"
        return Made(
            prepared, options[best], made.method, (trained, seen)[best], accuracies[best], made.excluded, self.steps
        ), ""

    def _train(self, made: Made, exported: Path, judge: Judge, on_progress: OnProgress) -> TrainedRanges:
        info = self.run.info()
        spec, slices = info.preprocess, judge.slices
        torch.set_num_threads(self.threads)
        images = to_tensors(slices.train, spec, {label.name: place for place, label in enumerate(info.labels)})
        model = network_of(self.run)
        multi = info.recipe.head is Head.MULTI
        targets = Targets(images.labels, torch.from_numpy(slices.every(slices.train)) if multi else None)
        # Masks and teachers have done their part: what is left is to answer as before, rounded.
        head = Head.MULTI if multi else Head.SINGLE
        recipe = msgspec.structs.replace(info.recipe, head=head, distil=0.0)
        ranges = fine_tune(
            model,
            images.pixels,
            targets,
            spec,
            recipe,
            steps=self.steps,
            scheme=made.prepared.scheme,
            seed=self.seed,
            good=good_places(info.labels),
            say=_sayer(on_progress, self.steps),
        )
        like = exported.with_name("like.onnx")
        reused = load_model(self.run.fp32)
        remove_temperature(reused)
        like.write_bytes(reused.SerializeToString())
        export_onnx(model, scale(images.pixels[:_EXAMPLES], spec), exported, like=like)
        return ranges


def _sayer(on_progress: OnProgress, steps: int) -> Callable[[int, float], None]:
    def say(step: int, loss: float) -> None:
        if step % _SAY_EVERY == 0 or step == steps:
            on_progress(Progress("train for int8", step, steps, f"loss {loss:.3f}"))

    return say
