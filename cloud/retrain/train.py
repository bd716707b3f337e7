"""Train a model: `python -m cloud.retrain.train JOB.json`, or the same under torchrun for several GPUs.

A plain script: read images, make tensors once, step, checkpoint, export. Under torchrun every process reads the images itself
and takes its share of each batch; the first one writes. Progress and errors go to standard output as JSON lines
(`cloud.retrain.progress`). A killed run continues with `resume` and ends with the weights it would have had.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from torch import nn

from cloud.clock import SystemClock
from cloud.ports.clock import Clock
from cloud.retrain.answers import answers_of
from cloud.retrain.batches import BatchPlan
from cloud.retrain.camera_change import CameraChange
from cloud.retrain.dataset import Dataset
from cloud.retrain.dataset_store import DEFAULT_FOLDER, open_dataset
from cloud.retrain.evaluation import Evaluation, HeldImages, evaluate
from cloud.retrain.export import EMBEDDING_NAME, MAP_NAME, check_exports, export_onnx
from cloud.retrain.feed import Feed
from cloud.retrain.fitting import Fitting, is_disk_full
from cloud.retrain.inputs import TrainingInputs, read_inputs
from cloud.retrain.job import TrainJob, check_job, make_folder, read_job
from cloud.retrain.learning import Plan
from cloud.retrain.metrics_log import read_metrics
from cloud.retrain.models.build import parameter_count
from cloud.retrain.network import good_places, starting_network
from cloud.retrain.parent_recipe import recipe_of_child
from cloud.retrain.place import Place, find_place
from cloud.retrain.progress import OnProgress, Progress, ignore_progress, print_progress, run_job
from cloud.retrain.reviewed import is_reviewed
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_lock import alone_in
from cloud.retrain.run_records import DatasetEntry, Head, Recipe, RunFigures, RunInfo, Split
from cloud.retrain.seen_drift import seen_changes
from cloud.retrain.teacher import Teacher
from cloud.retrain.tensors import ImageTensors, scale, to_tensors
from cloud.retrain.training_plot import plot_training
from contract.errors import InvalidConfig, StorageFull
from contract.manifest import LabelKind
from contract.preprocess import PreprocessSpec


def train(job: TrainJob, clock: Clock, on_progress: OnProgress = ignore_progress) -> RunFigures:
    """Train as `job` says and fill the run folder `job.out`.

    Raises:
        InvalidConfig, BadDataset, BadImage: the job or its images cannot be used.
        NotFound: the parent is no run.
        BadModel: training diverged, ran out of memory, or a checkpoint does not fit.
        TransientError: another process trains in that folder.
        StorageFull: no room for what training made; the last checkpoint is there still.
    """
    check_job(job)
    run = RunFolder(Path(job.out))
    if run.is_trained():
        raise InvalidConfig(f"{run.root} holds a finished run", hint="choose another --out, or remove that folder")
    make_folder(run.root)
    torch.set_num_threads(job.threads)
    with find_place() as place, alone_in(run.root) if place.is_first else contextlib.nullcontext():
        try:
            return _train(job, run, place, clock, on_progress if place.is_first else ignore_progress)
        except OSError as error:
            if not is_disk_full(error):
                raise
            for left in run.root.glob("*.tmp"):
                left.unlink(missing_ok=True)
            raise StorageFull(f"no room left in {run.root}", hint="free some, then repeat with --resume") from error


def main(arguments: list[str] | None = None) -> int:
    """Train the job whose file is the only argument."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m cloud.retrain.train JOB.json (plumbline-cloud train writes it)", file=sys.stderr)
        return 2
    return run_job(lambda: train(read_job(Path(given[0])), SystemClock(), print_progress))


def _train(job: TrainJob, run: RunFolder, place: Place, clock: Clock, on_progress: OnProgress) -> RunFigures:
    started = clock.monotonic()
    on_progress(Progress("read images", 0, 1, job.data or job.dataset or f"of {job.parent}"))
    inputs = read_inputs(job)
    dataset, spec, parent = inputs.dataset, inputs.spec, inputs.parent
    on_progress(Progress("read images", 1, 1, f"{len(dataset.samples)} images, {len(dataset.labels)} labels"))
    recipe = job.recipe if parent is None else recipe_of_child(job.recipe, parent.info().recipe)
    place.check_batch(recipe.batch_size)
    samples = dataset.of_split(Split.TRAIN)
    learnt = _held(dataset, Split.TRAIN, spec, recipe)
    tensors = learnt.tensors
    feed, warnings = _feed(job, recipe, learnt, [s.entry for s in samples], on_progress)
    torch.manual_seed(job.seed)
    model = starting_network(recipe, spec, dataset.labels, parent)
    if ":" in recipe.model and parent is None and place.is_first and not (job.resume and run.checkpoint.exists()):
        # Better said now than after hours of training; our own networks are known to export.
        on_progress(Progress("try the export", 0, 1, recipe.model))
        check_exports(model, spec.channels, spec.height, run.root)
        on_progress(Progress("try the export", 1, 1, recipe.model))
    model.to(place.device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    teacher = None
    if job.teacher is not None:
        teacher = Teacher(RunFolder(Path(job.teacher)), dataset.labels, spec, recipe, place.device)
    held = {split: _held(dataset, split, spec, recipe) for split in (Split.CALIBRATION, Split.HOLDOUT, Split.DRIFT)}
    if recipe.patience and len(held[Split.CALIBRATION].tensors) == 0:
        raise InvalidConfig("--patience looks at the calibration split, and that is empty", hint="raise --calibration")
    good = good_places(dataset.labels)
    fit = Fitting(job, recipe, run, place, clock, on_progress, _digest(dataset)).fit(
        model,
        feed,
        _plan(job, recipe, feed),
        lambda kept: evaluate(kept, held[Split.CALIBRATION], place, good),
        teacher=teacher,
        good=good,
    )
    accuracies = {split: evaluate(model, images, place, good) for split, images in held.items()}
    on_training = evaluate(model, learnt, place, good)
    figures = RunFigures(
        seconds=0.0,
        steps=fit.steps,
        parameters=parameter_count(model),
        device=str(place.device),
        world_size=place.world_size,
        train_images=len(samples),
        reviewed_images=int((~feed.is_base).sum()),
        train_accuracy=_accuracy(on_training) or 0.0,
        calibration_accuracy=_accuracy(accuracies[Split.CALIBRATION]),
        holdout_accuracy=_accuracy(accuracies[Split.HOLDOUT]),
        drift_accuracy=_accuracy(accuracies[Split.DRIFT]),
        images_per_s=fit.images_per_s,
        best_step=fit.best_step,
        pieces=fit.pieces,
        skipped_checkpoints=fit.skipped_checkpoints,
    )
    if place.is_first:
        on_progress(Progress("export", 0, 1, run.fp32.name))
        unlearnt = _unlearnt(accuracies[Split.HOLDOUT], [label.name for label in dataset.labels])
        said = (*dataset.warnings, *warnings, *fit.warnings, *unlearnt, *_plots(job, run))
        finish = _Finish(job, recipe, run, inputs, said, figures, lambda: clock.monotonic() - started)
        figures = finish.write(model.cpu(), tensors)
        on_progress(Progress("export", 1, 1, f"holdout accuracy {_shown(figures.holdout_accuracy)}"))
    return figures


def _feed(
    job: TrainJob, recipe: Recipe, learnt: HeldImages, entries: list[DatasetEntry], on_progress: OnProgress
) -> tuple[Feed, list[str]]:
    """Return the batches of a run, and what was seen of a drift."""
    tensors = learnt.tensors
    reviewed = torch.tensor([is_reviewed(entry) for entry in entries], dtype=torch.bool)
    changes: tuple[CameraChange, ...] = ()
    said: list[str] = []
    if job.parent is not None and recipe.seen_drift > 0 and bool(reviewed.any()):
        on_progress(Progress("look for drift", 0, 1, f"{int(reviewed.sum())} reviewed images"))
        changes, said = seen_changes(tensors.pixels, tensors.labels, [e.source for e in entries], ~reviewed, job.seed)
        on_progress(Progress("look for drift", 1, 1, "; ".join(said)))
    plan = BatchPlan(
        base=torch.nonzero(~reviewed).flatten(),
        reviewed=torch.nonzero(reviewed).flatten(),
        batch_size=recipe.batch_size,
        reviewed_share=recipe.reviewed_share if job.parent else 0.0,
        seed=job.seed,
        balance=recipe.class_balance,
        labels=tensors.labels,
    )
    return Feed(tensors, learnt.answers, plan, learnt.spec, recipe, job.seed, ~reviewed, changes), said


def _plan(job: TrainJob, recipe: Recipe, feed: Feed) -> Plan:
    if job.parent:
        return Plan(recipe.warm_steps, recipe.warm_learning_rate, recipe.warm_pull)
    return Plan(max(recipe.min_steps, recipe.epochs * feed.plan.steps_per_epoch()), recipe.learning_rate)


def _held(dataset: Dataset, split: Split, spec: PreprocessSpec, recipe: Recipe) -> HeldImages:
    good = frozenset(label.name for label in dataset.labels if label.kind is LabelKind.GOOD)
    masks = recipe.head is Head.SEGMENT
    tensors = to_tensors(dataset.of_split(split), spec, dataset.index_of(), masks=masks, good=good)
    return HeldImages(tensors, answers_of(tensors, recipe.head), spec, recipe)


def _accuracy(evaluation: Evaluation | None) -> float | None:
    return None if evaluation is None else evaluation.accuracy


def _unlearnt(holdout: Evaluation | None, names: list[str]) -> list[str]:
    """Return what to say of labels that the model never gives: where most images are good, accuracy alone looks well without."""
    if holdout is None:
        return []
    return [
        f"none of the {asked} held-out images of '{name}' is named right: --epochs N learns longer, --class-balance 0.5 shows "
        "rare labels more often"
        for name, named, asked in zip(names, holdout.named, holdout.asked, strict=True)
        if asked and not named
    ]


def _plots(job: TrainJob, run: RunFolder) -> list[str]:
    """Draw the curves and return what went wrong: a picture is never worth a run."""
    if not job.plots:
        return []
    try:
        plot_training(read_metrics(run.metrics), run.plots / "training.png")
    except (OSError, ImportError, RuntimeError, ValueError) as error:
        return [f"training's curves were not drawn: {error}"]
    return []


@dataclass(frozen=True, slots=True)
class _Finish:
    """Writes what a finished run is."""

    job: TrainJob
    recipe: Recipe
    run: RunFolder
    inputs: TrainingInputs
    warnings: tuple[str, ...]
    figures: RunFigures
    elapsed_s: Callable[[], float]

    def write(self, model: nn.Module, tensors: ImageTensors) -> RunFigures:
        """Export `model` (on the CPU) and write the run's files, run.json last."""
        job, run, inputs = self.job, self.run, self.inputs
        example = scale(tensors.pixels[:8], inputs.spec)
        names = export_onnx(model, example, run.fp32, like=inputs.parent.fp32 if inputs.parent else None)
        manifest = inputs.dataset.manifest()
        run.save_dataset(manifest)
        figures = msgspec.structs.replace(self.figures, seconds=round(self.elapsed_s(), 3))
        run.save_info(
            RunInfo(
                recipe=self.recipe,
                seed=job.seed,
                labels=inputs.dataset.labels,
                preprocess=inputs.spec,
                parent=str(inputs.parent.root) if inputs.parent else "",
                dataset_sha256=_digest(inputs.dataset),
                code=f"plumbline-edge {importlib.metadata.version('plumbline-edge')}, torch {torch.__version__}",
                figures=figures,
                warnings=self.warnings,
                simulated=job.simulated or (inputs.parent is not None and inputs.parent.info().simulated),
                embedding=EMBEDDING_NAME if EMBEDDING_NAME in names else "",
                activation_map=MAP_NAME if MAP_NAME in names else "",
                teacher=job.teacher or "",
                dataset=_named(job),
            )
        )
        return figures


def _digest(dataset: Dataset) -> str:
    return hashlib.sha256(msgspec.json.encode(dataset.manifest().entries)).hexdigest()


def _named(job: TrainJob) -> str:
    if job.dataset is None:
        return ""
    stored = open_dataset(job.dataset, Path(DEFAULT_FOLDER))
    return f"{stored.manifest.name}@{stored.id}"


def _shown(accuracy: float | None) -> str:
    return "not measured" if accuracy is None else f"{accuracy:.3f}"


if __name__ == "__main__":
    sys.exit(main())
