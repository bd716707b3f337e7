"""The pairs of bundles that `bench update` measures: old and new archive, and what was done between them.

`steel_pair` is the product's own: a model trained on the steel images, then warm-started from it with 120 reviewed images out of
focus, both quantized, gated and released as the aggregator does it (cloud.retrain.pipeline). `tflite_pair` is a model by others
whose weights are moved by chance, because no fine-tuned pair of TensorFlow Lite models is at hand.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image, ImageFilter

from cloud.clock import SystemClock
from cloud.quantize.gate_run import GateJob
from cloud.quantize.quantize_run import QuantizeJob
from cloud.registry.bundle import BundleContent, build_bundle
from cloud.registry.keys import init_keys
from cloud.registry.release import Registry
from cloud.registry.tensor_table import tensors_of
from cloud.retrain.job import TrainJob
from cloud.retrain.launch import launch_gate, launch_local, launch_quantize
from cloud.retrain.release_run import RunReleaser
from cloud.retrain.run_records import Recipe
from contract.errors import NotFound
from contract.manifest import Artefact, Label, LabelKind, OutputKind, RuntimeKind, Thresholds
from contract.preprocess import PreprocessSpec
from scripts.benches.loop import steel_images

_REVIEWED = 120
_SEED = 5
_FEW_STEPS = 20
_BLUR_PX = 1.5
_PULL = 0.4
_MOVE = 1.0  # standard deviation of a weight's move, in quantization steps
_GOOD = ("crazing",)  # the steel images show defects only: as in the demo's tests, one class stands for good
_TFLITE = "mobilenet_v2_1.0_224_quant.tflite"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two archives. `how`: what lies between them, in words."""

    name: str
    how: str
    old: Path
    new: Path


def steel_pair(work: Path, say: Callable[[str], None], *, quick: bool) -> Pair:
    """Return the pair of steel models, trained afresh in `work`: minutes.

    Args:
        quick: take the one that was trained last; where there is none, train for a few steps only.

    Raises:
        NotFound: the steel images are not there.
        PlumblineError: what training, quantizing or releasing raises.
    """
    place = work / "steel"
    how = f"steel model, retrained as the aggregator does with warm_pull = {_PULL}, {_REVIEWED} reviewed images out of focus"
    recipe = Recipe(warm_pull=_PULL)
    if quick and not (place / "new.plb").is_file():
        place, recipe = (
            work / "steel-quick",
            Recipe(epochs=1, min_steps=_FEW_STEPS, warm_steps=_FEW_STEPS, warm_pull=_PULL),
        )
        how += f", but {_FEW_STEPS} steps only: run without --quick for a trained pair"
    old, new = place / "old.plb", place / "new.plb"
    if not (quick and new.is_file()):
        shutil.rmtree(place, ignore_errors=True)
        images = steel_images()
        reviewed, exclude = _review(images, place)
        releaser = RunReleaser(
            Registry(place / "registry"), init_keys(place / "keys"), place / "runs", SystemClock().now
        )
        base, fine = place / "base", place / "fine"
        say("training the first model")
        job = TrainJob(out=str(base), data=str(images), layout="prefix", good=_GOOD, suffix="jpg", recipe=recipe)
        launch_local(msgspec.structs.replace(job, exclude=str(exclude)))
        _release(base, None, "1", releaser, old, gate=not quick)
        say("training the second from it")
        launch_local(TrainJob(out=str(fine), parent=str(base), reviewed=str(reviewed), seed=1, recipe=recipe))
        _release(fine, base, "2", releaser, new, gate=not quick)
    return Pair("steel", how, old, new)


def tflite_pair(work: Path) -> Pair | None:
    """Return the pair of TensorFlow Lite models; None when the model is not there."""
    model = steel_images().parents[1] / "models" / "tflite" / _TFLITE
    if not model.is_file():
        return None
    work.mkdir(parents=True, exist_ok=True)
    rng, data = np.random.default_rng(_SEED), bytearray(model.read_bytes())
    for tensor in tensors_of(model, model.name, RuntimeKind.TFLITE):
        if tensor.dtype in ("uint8", "int8"):
            bounds = np.iinfo(tensor.dtype)
            place = np.frombuffer(data, tensor.dtype, tensor.size_bytes, tensor.offset)
            moved = place + np.rint(rng.normal(0, _MOVE, len(place)))
            end = tensor.offset + tensor.size_bytes
            data[tensor.offset : end] = np.clip(moved, bounds.min, bounds.max).astype(tensor.dtype).tobytes()
    moved_file = work / "moved.tflite"
    moved_file.write_bytes(data)
    archives = [
        build_bundle(_content(file, str(number)), work / f"tflite-{number}.plb", 0.0)[0]
        for number, file in enumerate((model, moved_file), 1)
    ]
    how = f"{_TFLITE} by others; NOT fine-tuned: each weight moved by chance, by {_MOVE:g} step (standard deviation)"
    return Pair("tflite", how, archives[0], archives[1])


def _release(run: Path, incumbent: Path | None, version: str, releaser: RunReleaser, out: Path, *, gate: bool) -> None:
    launch_quantize(QuantizeJob(run=str(run)))
    if gate:
        launch_gate(GateJob(run=str(run), incumbent=str(incumbent) if incumbent else None))
    # What the gate says of a model changes nothing about its bytes.
    released = releaser.release(run, version, override_gate="a benchmark of bytes")
    shutil.copyfile(releaser.registry.blobs.path(released.digest), out)


def _review(images: Path, place: Path) -> tuple[Path, Path]:
    """Return (folder of reviewed images, list of the files they are made of, which the first model never sees)."""
    files = sorted(path for path in images.iterdir() if path.suffix == ".jpg")
    if len(files) < 2 * _REVIEWED:
        raise NotFound(f"{len(files)} images in {images} are too few", hint="see data/README.md in PLUMBLINE_DATA")
    drawn = [files[i] for i in np.random.default_rng(_SEED).permutation(len(files))[:_REVIEWED]]
    folder, exclude = place / "reviewed", place / "exclude.txt"
    folder.mkdir(parents=True)
    rows = []
    for file in drawn:
        with Image.open(file) as image:
            image.convert("L").filter(ImageFilter.GaussianBlur(_BLUR_PX)).save(folder / f"{file.stem}.png")
        label = file.stem.rsplit("_", 1)[0]
        rows.append({"file": f"{file.stem}.png", "label": label, "part": file.stem, "labeller": "bench", "source": "a"})
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    exclude.write_text("".join(f"{file.name}\n" for file in drawn))
    return folder, exclude


def _content(model: Path, version: str) -> BundleContent:
    return BundleContent(
        name="tflite",
        version=version,
        labels=(Label("good", LabelKind.GOOD), Label("other", LabelKind.DEFECT)),
        preprocess=PreprocessSpec(224, 224, 3, (), (), layout="NHWC", dtype="uint8"),
        artefacts=(Artefact("model.tflite", RuntimeKind.TFLITE, "int8", OutputKind.PROBABILITIES),),
        thresholds=Thresholds(0.9, 0.9),
        files={"model.tflite": model},
    )
