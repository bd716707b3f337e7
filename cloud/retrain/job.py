"""What to train, as a file: the one argument of the training script, whoever launches it."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from cloud.retrain.run_folder import publish
from cloud.retrain.run_records import DRIFT_SHARE, Recipe
from contract.errors import InvalidConfig
from contract.manifest import MAX_INPUT_PX

# Four stages halve an image four or five times; less than this leaves no pixels.
_SMALLEST_INPUT_PX = 32
# A step's seed (cloud.retrain.batches.step_seed) must fit into 64 bits after any number of steps.
_LARGEST_SEED = 2**32
SCHEDULES = ("onecycle", "cosine")


class TrainJob(msgspec.Struct, frozen=True):
    """A training job. Paths are text, because the job travels as JSON.

    `data`: the base images; None takes those of `parent`. `parent`: a run to start from, with its labels, preprocessing and
    splits. `reviewed`: labelled images to add. `exclude`: a text file of paths, relative to `data`, never to be read.
    `input_px`: the model's input is this many pixels square; 0
    takes the images' own size, up to 224. `threads`: CPU threads a process may use. `dataset`: a manifest that 'dataset make'
    wrote, in place of `data`. `teacher`: a run whose answers are learnt from too. `masks`: the ending of mask files beside images
    of the same stem, e.g. "png". `save_every_s`: seconds between checkpoints; 0 after every step. `plots`: draw training's curves.
    """

    out: str
    data: str | None = None
    layout: str = "folders"
    good: tuple[str, ...] | None = None
    suffix: str | None = None
    part_pattern: str | None = None
    exclude: str | None = None
    skip_unreadable: bool = False
    reviewed: str | None = None
    parent: str | None = None
    holdout_share: float = 1 / 3
    calibration_share: float = 0.1
    drift_share: float = DRIFT_SHARE
    seed: int = 0
    input_px: int = 0
    recipe: Recipe = Recipe()
    threads: int = 2
    resume: bool = False
    simulated: bool = False
    dataset: str | None = None
    teacher: str | None = None
    masks: str | None = None
    save_every_s: float = 5.0
    plots: bool = True


def make_recipe(**given: object) -> Recipe:
    """Return the default recipe with the given fields replaced; None leaves a default."""
    return msgspec.structs.replace(Recipe(), **{name: value for name, value in given.items() if value is not None})


def check_job(job: TrainJob) -> None:
    """Check what can be checked before any image is read.

    Raises:
        InvalidConfig: a value that cannot work, or no images to learn from.
    """
    recipe = job.recipe
    for name, value, least in (
        ("--epochs", recipe.epochs, 1),
        ("--steps", recipe.warm_steps, 1),
        ("--batch-size", recipe.batch_size, 2),
        ("--threads", job.threads, 1),
        ("--size", job.input_px or _SMALLEST_INPUT_PX, _SMALLEST_INPUT_PX),
    ):
        if value < least:
            raise InvalidConfig(f"{name} {value} is too small", hint=f"use at least {least}")
    if abs(job.seed) > _LARGEST_SEED:
        raise InvalidConfig(f"--seed {job.seed} is too large", hint=f"use at most {_LARGEST_SEED}")
    if job.input_px > MAX_INPUT_PX:
        raise InvalidConfig(
            f"--size {job.input_px} is more than a bundle may hold", hint=f"use at most {MAX_INPUT_PX}, better 224"
        )
    for name, share, most in (
        ("--ema", recipe.ema, 0.99999),
        ("--class-balance", recipe.class_balance, 1.0),
        ("--seen-drift", recipe.seen_drift, 1.0),
        ("--distil", recipe.distil, 1.0),
        ("--prune", recipe.prune, 0.9),
    ):
        if not 0 <= share <= most:
            raise InvalidConfig(f"{name} {share:g} is outside 0..{most:g}", hint="0 leaves it out")
    for name, rate in (("--learning-rate", recipe.learning_rate), ("--learning-rate", recipe.warm_learning_rate)):
        if not 0 < rate < math.inf:
            raise InvalidConfig(f"{name} {rate:g} is no rate to learn at", hint="use about 0.003")
    if recipe.patience < 0:
        raise InvalidConfig(f"--patience {recipe.patience} is negative", hint="0 never stops early")
    if recipe.schedule not in SCHEDULES:
        raise InvalidConfig(f"--schedule {recipe.schedule} does not exist", hint=f"use {' or '.join(SCHEDULES)}")
    if (recipe.distil > 0) != (job.teacher is not None):
        raise InvalidConfig("--distil and --teacher go together", hint="give --teacher RUN and --distil 0.5")
    if recipe.prune > 0 and job.parent is None:
        raise InvalidConfig("--prune takes channels from a trained model", hint="give --parent RUN too")
    if job.data is None and job.dataset is None and job.parent is None:
        raise InvalidConfig("there are no images to train on", hint="give --data DIR, --dataset NAME, or --parent RUN")
    if job.reviewed is not None and not Path(job.reviewed).is_dir():
        raise InvalidConfig(f"{job.reviewed} is no folder", hint="--reviewed wants images and a labels.jsonl")


def write_job(job: msgspec.Struct, file: Path) -> None:
    """Write a job file.

    Raises:
        InvalidConfig: the folder cannot be written.
    """
    make_folder(file.parent)
    try:
        temporary = file.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode(job))
        publish(temporary, file)
    except OSError as error:
        raise InvalidConfig(f"cannot write {file}: {error.strerror}", hint="choose a folder you may write") from error


def make_folder(folder: Path) -> None:
    """Make a folder, or do nothing when it is there.

    Raises:
        InvalidConfig: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidConfig(f"cannot make {folder}: {error.strerror}", hint="choose a folder you may write") from error


def read_job(file: Path) -> TrainJob:
    """Return the job in a file.

    Raises:
        InvalidConfig: there is none, or it is damaged.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=TrainJob)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidConfig(
            f"{file} is no training job: {error}", hint="start training with 'plumbline-cloud train'"
        ) from error
