"""What a training run writes down: its dataset, recipe, figures and artefacts (files in cloud.retrain.run_folder)."""

from __future__ import annotations

from enum import Enum

import msgspec

from cloud.gate.scorecard import Promise
from contract.manifest import Label, Thresholds
from contract.preprocess import PreprocessSpec

RUN_VERSION = 1
# Of the parts labelled for a retrain, how many judge its artefact in place of being learnt (DECISIONS 146).
DRIFT_SHARE = 0.15


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
    seen_drift: float = 0.5
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
    `calibrated_at`: the `pass_at` that the calibration split alone gave, before parts labelled since made it stricter; None where
    that was not noted.
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
    calibrated_at: float | None = None

    def is_tightened(self) -> bool:
        """Return whether parts labelled since the calibration images made its threshold stricter."""
        return self.thresholds is not None and self.calibrated_at not in (None, self.thresholds.pass_at)


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
    `promise`: what thresholds were chosen for.
    """

    artefacts: tuple[ArtefactFigures, ...]
    ships: str
    thresholds: Thresholds
    sweep: tuple[SweepFigures, ...]
    golden_max_abs_error: float
    seconds: float
    also: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    promise: Promise = Promise()
