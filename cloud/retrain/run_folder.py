"""A training run is a folder: what lies in it, and how each part is read and written.

run.json         recipe, seed, labels, preprocessing, parent, figures of training
dataset.json     every image by content hash, with label, labeller, source, split and part
checkpoint.pt    weights (and, while training, what resuming needs)
fp32.onnx        the exported model
int8.onnx        the quantized one for CPUs
int8.s8s8.onnx   the quantized one for TensorRT, where it was asked for
fp16.onnx        the one of 16 bits, where it was asked for
quantize_debug.json  what each tensor loses to int8, where it was asked for
quantize.json    figures of each artefact, which one ships, thresholds
golden.npz       pixels u8[N,H,W] or u8[N,H,W,C], scores f32[N,K] of the artefact that ships
gate.json        the gate's report
validation.json  the answers of the artefact that ships to the holdout, counted (cloud.drift.held_out)
metrics.jsonl    a line for each look at the loss while training
plots/           training's curves
report.html      the gate's report for a person
resources.json   the memory its bundle takes, measured at the first release (run_resources)
model_card.md    the card of the last release

Everything is written whole or not at all (temporary file, fsync, rename), so a killed step leaves the run as it was.
"""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.drift.held_out import HELD_OUT_NAME, HeldOut, decode_held_out
from cloud.gate.scorecard import GateReport
from contract.errors import BadDataset, NotFound
from contract.manifest import Label, Thresholds
from contract.preprocess import PreprocessSpec

RUN_VERSION = 1
T = TypeVar("T", bound=msgspec.Struct)


class Split(str, Enum):
    """What an image is for.

    TRAIN is learnt from; CALIBRATION chooses the quantization and the thresholds; HOLDOUT is the gate's base holdout; DRIFT is
    the gate's slice of reviewed images of the drifted station.
    """

    TRAIN = "train"
    CALIBRATION = "calibration"
    HOLDOUT = "holdout"
    DRIFT = "drift"


class DatasetEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """An image of the dataset. `file` is relative to the manifest's folder number `folder`; `part` groups images of one part.

    `also`: further labels of an image with more than one. `labelled_at`: when `labeller` said so, Unix seconds; None where that
    is not known. `mask`: an image of the same folder whose bright pixels are the defect, with its hash; "" where there is none.
    `look`: a perceptual hash, 16 hex digits, "" where it was not taken.
    """

    file: str
    folder: int
    sha256: str
    label: str
    labeller: str
    source: str
    split: Split
    part: str
    audit: bool = False
    inclusion: float = 1.0
    also: tuple[str, ...] = ()
    labelled_at: float | None = None
    mask: str = ""
    mask_sha256: str = ""
    look: str = ""


class DatasetManifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A dataset by content. `source` of an entry is "base" or "reviewed". `labels` in the order of a model's output, () in a
    run's dataset.json, whose run.json has them."""

    folders: tuple[str, ...]
    entries: tuple[DatasetEntry, ...]
    name: str = ""
    labels: tuple[Label, ...] = ()
    warnings: tuple[str, ...] = ()


class Head(str, Enum):
    """What a model answers: SINGLE, one label an image; MULTI, any number of defects; SEGMENT, one label, learnt with the help of
    pixel masks."""

    SINGLE = "single"
    MULTI = "multi"
    SEGMENT = "segment"


class Recipe(msgspec.Struct, frozen=True):
    """How a model is trained: `epochs` over the images, but at least `min_steps`; a warm start (there is a parent) takes
    `warm_steps` at `warm_learning_rate`.

    `reviewed_share` is the share of each warm batch drawn from reviewed images; the rest replays base images, so that what
    the parent knew is kept. `warm_pull` is how hard a warm start draws weights back to the parent's (cloud.retrain.parent_pull), as
    a share of the learning rate; 0 lets all of them move.

    `model`: "surface", or "module:factory" (cloud.retrain.models.build). `head`: see Head. `schedule`: "onecycle" or "cosine".
    `ema`: decay of an average of the weights, which is what is kept; 0 for none. `class_balance`: 0 draws images as they come,
    1 every label alike (tiles, where 71 % are good, 96 pixels: mean recall .30, .52, .58 at 0, .5, 1; right in all .76, .79, .57).
    `seen_drift`: share of a warm batch's base images that are shown as the reviewed ones look. `patience`: evaluations without
    gain on the calibration split after which training stops; 0 never. `distil`: weight of the teacher's answers in the loss,
    0..1. `prune`: share of channels removed before training. `mask_weight`: weight of the masks' loss under SEGMENT.
    `qat_steps`: steps trained with int8's rounding simulated. `compile`: torch.compile, where it helps.
    """

    epochs: int = 12
    min_steps: int = 300
    warm_steps: int = 400
    batch_size: int = 32
    learning_rate: float = 3e-3
    warm_learning_rate: float = 2e-3
    weight_decay: float = 0.01
    label_smoothing: float = 0.05
    shift_px: int = 4
    width: float = 1.0
    reviewed_share: float = 0.5
    warm_pull: float = 0.0
    model: str = "surface"
    head: Head = Head.SINGLE
    schedule: str = "onecycle"
    ema: float = 0.0
    class_balance: float = 0.5
    seen_drift: float = 0.0
    patience: int = 0
    distil: float = 0.0
    prune: float = 0.0
    mask_weight: float = 1.0
    qat_steps: int = 0
    compile: bool = False


class RunFigures(msgspec.Struct, frozen=True):
    """What training measured. Accuracies are of the full-precision model, 0..1; None where the slice has no images.

    `steps`: done, fewer than planned where training stopped early; `best_step`: whose weights were kept then, else 0.
    `images_per_s` of all processes, evaluations left out. `pieces`: in how many a batch was computed for want of memory.
    `skipped_checkpoints`: not written for want of disk.
    """

    seconds: float
    steps: int
    parameters: int
    device: str
    world_size: int
    train_images: int
    reviewed_images: int
    train_accuracy: float
    calibration_accuracy: float | None
    holdout_accuracy: float | None
    drift_accuracy: float | None
    images_per_s: float = 0.0
    best_step: int = 0
    pieces: int = 1
    skipped_checkpoints: int = 0


class RunInfo(msgspec.Struct, frozen=True):
    """What a run is: enough to repeat it. `parent` is a run folder or bundle digest, "" for a base model.

    `embedding`, `activation_map`: names of the exported model's further outputs, "" without (contract.manifest.Artefact).
    `teacher`: the run that it was distilled from. `dataset`: NAME@ID where it was trained on a dataset by name.
    """

    recipe: Recipe
    seed: int
    labels: tuple[Label, ...]
    preprocess: PreprocessSpec
    parent: str
    dataset_sha256: str
    code: str
    figures: RunFigures
    warnings: tuple[str, ...] = ()
    simulated: bool = False
    run_version: int = RUN_VERSION
    embedding: str = ""
    activation_map: str = ""
    teacher: str = ""
    dataset: str = ""


class ArtefactFigures(msgspec.Struct, frozen=True):
    """What one artefact does on this machine. Accuracies on the holdout and the drifted slice; latency: one thread, batch 1.

    `temperature`: what its scores were divided by, as the file's last step. `excluded`: nodes left in full precision.
    `calibration_error`: on the holdout; `uncalibrated_error`: the same at temperature 1. `judged_accuracy`: on the calibration
    split, by which it `passes` or not (cloud.quantize.choice). `qat_steps`: how long it was fine-tuned for int8.
    `unhindered_ms`: the shortest inference seen, by which the fastest is chosen. `sha256`: of the file that all this is of.
    """

    file: str
    precision: str
    method: str
    accuracy: float | None
    drift_accuracy: float | None
    agreement_with_fp32: float
    size_bytes: int
    median_ms: float
    scheme: str = ""
    temperature: float = 1.0
    calibration_error: float = 0.0
    thresholds: Thresholds | None = None
    excluded: tuple[str, ...] = ()
    uncalibrated_error: float = 0.0
    judged_accuracy: float = 0.0
    passes: bool = True
    qat_steps: int = 0
    unhindered_ms: float = 0.0
    sha256: str = ""


class SweepFigures(msgspec.Struct, frozen=True):
    """One calibration method tried, judged on the calibration split. `failure` says why it gave no model, else ""."""

    method: str
    agreement_with_fp32: float
    accuracy: float
    failure: str = ""
    scheme: str = ""


class QuantizeReport(msgspec.Struct, frozen=True):
    """What quantization made. `ships` is the file a device should run; `golden_max_abs_error` belongs to golden.npz.

    `also`: further files that a release may carry behind it. `warnings`: what a person should know before trusting the figures.
    """

    artefacts: tuple[ArtefactFigures, ...]
    ships: str
    thresholds: Thresholds
    sweep: tuple[SweepFigures, ...]
    golden_max_abs_error: float
    seconds: float
    also: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class RunFolder:
    """The files of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoint = root / "checkpoint.pt"
        self.fp32 = root / "fp32.onnx"
        self.int8 = root / "int8.onnx"
        self.fp16 = root / "fp16.onnx"
        self.quantize_debug = root / "quantize_debug.json"
        self.golden = root / "golden.npz"
        self.metrics = root / "metrics.jsonl"
        self.plots = root / "plots"
        self.report = root / "report.html"
        self.validation = root / HELD_OUT_NAME
        self._info = root / "run.json"
        self._dataset = root / "dataset.json"
        self._quantize = root / "quantize.json"
        self._gate = root / "gate.json"

    def is_trained(self) -> bool:
        """Return whether training finished here: run.json is written last."""
        return self._info.exists()

    def info(self) -> RunInfo:
        """Return run.json.

        Raises:
            NotFound: this folder holds no finished run.
            BadDataset: the file is damaged.
        """
        info = self._read(self._info, RunInfo, "train")
        if info.run_version != RUN_VERSION:
            raise BadDataset(f"{self._info} is of version {info.run_version}, not {RUN_VERSION}", hint="train again")
        return info

    def dataset(self) -> DatasetManifest:
        """Return dataset.json. Raises: as `info`."""
        return self._read(self._dataset, DatasetManifest, "train")

    def quantize_report(self) -> QuantizeReport:
        """Return quantize.json. Raises: as `info`."""
        return self._read(self._quantize, QuantizeReport, "quantize")

    def gate_report(self) -> GateReport:
        """Return gate.json. Raises: as `info`."""
        return self._read(self._gate, GateReport, "gate")

    def held_out(self) -> HeldOut | None:
        """Return validation.json; None when the run was never gated, or not since its model changed hands.

        Raises:
            BadDataset: it is damaged.
        """
        try:
            return decode_held_out(self.validation.read_bytes())
        except FileNotFoundError:
            return None

    def save_info(self, info: RunInfo) -> None:
        """Write run.json; call it last, it marks the run as trained."""
        self._write(self._info, info)

    def save_dataset(self, manifest: DatasetManifest) -> None:
        """Write dataset.json."""
        self._write(self._dataset, manifest)

    def save_quantize_report(self, report: QuantizeReport) -> None:
        """Write quantize.json."""
        self._write(self._quantize, report)

    def save_gate_report(self, report: GateReport) -> None:
        """Write gate.json."""
        self._write(self._gate, report)

    def save_held_out(self, record: HeldOut) -> None:
        """Write validation.json."""
        self._write(self.validation, record)

    def save_golden(self, pixels: NDArray[np.uint8], scores: NDArray[np.float32]) -> None:
        """Write golden.npz: pixels u8[N,H,W] or u8[N,H,W,C], scores f32[N,K]."""
        temporary = self.golden.with_suffix(".tmp.npz")
        np.savez_compressed(temporary, pixels=pixels, scores=scores)
        publish(temporary, self.golden)

    def load_golden(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return (pixels, scores) as `save_golden` took them.

        Raises:
            NotFound: there is no golden.npz.
            BadDataset: it is damaged.
        """
        if not self.golden.exists():
            raise NotFound(f"{self.golden} is not there", hint=f"run 'plumbline-cloud quantize {self.root}' first")
        try:
            with np.load(self.golden, allow_pickle=False) as arrays:
                return np.asarray(arrays["pixels"], np.uint8), np.asarray(arrays["scores"], np.float32)
        except (OSError, ValueError, KeyError) as error:
            raise BadDataset(f"{self.golden} is damaged: {error}", hint="quantize the run again") from error

    def _read(self, file: Path, kind: type[T], step: str) -> T:
        try:
            return msgspec.json.decode(file.read_bytes(), type=kind)
        except FileNotFoundError as error:
            raise NotFound(
                f"{file} is not there",
                hint=f"run 'plumbline-cloud {step}' for this folder first, or check the path",
            ) from error
        except (msgspec.DecodeError, OSError) as error:
            raise BadDataset(f"{file} is damaged: {error}", hint=f"run 'plumbline-cloud {step}' again") from error

    def _write(self, file: Path, value: msgspec.Struct) -> None:
        temporary = file.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2))
        publish(temporary, file)


def publish(temporary: Path, final: Path) -> None:
    """Make `temporary` durable under the name `final`: fsync, rename, fsync the folder."""
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
