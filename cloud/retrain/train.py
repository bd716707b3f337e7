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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cloud.clock import SystemClock
from cloud.ports.clock import Clock
from cloud.retrain.augment import flip_and_shift
from cloud.retrain.batches import BatchPlan, step_generator
from cloud.retrain.checkpoint import load_checkpoint, load_weights, save_checkpoint
from cloud.retrain.dataset import Dataset
from cloud.retrain.export import export_onnx
from cloud.retrain.inputs import TrainingInputs, read_inputs
from cloud.retrain.job import TrainJob, check_job, make_folder, read_job
from cloud.retrain.models.build import build_model, parameter_count
from cloud.retrain.objective import Targets, loss_of
from cloud.retrain.parent_pull import ParentPull
from cloud.retrain.progress import OnProgress, Progress, ignore_progress, print_progress, run_job
from cloud.retrain.reviewed import is_reviewed
from cloud.retrain.run_folder import RunFigures, RunFolder, RunInfo, Split
from cloud.retrain.tensors import ImageTensors, scale, to_tensors
from contract.errors import BadModel, InvalidConfig
from contract.preprocess import PreprocessSpec

_SAVE_EVERY_S = 5.0
_EVALUATION_BATCH = 256


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process computes, and which of how many it is."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """Return this process's share of a batch."""
        return rows[self.rank :: self.world_size]


def train(job: TrainJob, clock: Clock, on_progress: OnProgress = ignore_progress) -> RunFigures:
    """Train as `job` says and fill the run folder `job.out`.

    Raises:
        InvalidConfig, BadDataset, BadImage: the job or its images cannot be used.
        NotFound: the parent is no run.
        BadModel: training diverged, or a checkpoint does not fit.
    """
    check_job(job)
    run = RunFolder(Path(job.out))
    if run.is_trained():
        raise InvalidConfig(f"{run.root} holds a finished run", hint="choose another --out, or remove that folder")
    make_folder(run.root)
    torch.set_num_threads(job.threads)
    with _place() as place:
        return _train(job, run, place, clock, on_progress if place.rank == 0 else ignore_progress)


def main(arguments: list[str] | None = None) -> int:
    """Train the job whose file is the only argument."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m cloud.retrain.train JOB.json (plumbline-cloud train writes it)", file=sys.stderr)
        return 2
    return run_job(lambda: train(read_job(Path(given[0])), SystemClock(), print_progress))


def _train(job: TrainJob, run: RunFolder, place: Place, clock: Clock, on_progress: OnProgress) -> RunFigures:
    started = clock.monotonic()
    on_progress(Progress("read images", 0, 1, job.data or f"of {job.parent}"))
    inputs = read_inputs(job)
    dataset, spec = inputs.dataset, inputs.spec
    on_progress(Progress("read images", 1, 1, f"{len(dataset.samples)} images, {len(dataset.labels)} labels"))
    samples = dataset.of_split(Split.TRAIN)
    tensors = to_tensors(samples, spec, dataset.index_of())
    reviewed = torch.tensor([is_reviewed(s.entry) for s in samples])
    plan = BatchPlan(
        base=torch.nonzero(~reviewed).flatten(),
        reviewed=torch.nonzero(reviewed).flatten(),
        batch_size=job.recipe.batch_size,
        reviewed_share=job.recipe.reviewed_share if job.parent else 0.0,
        seed=job.seed,
    )
    torch.manual_seed(job.seed)
    model = build_model(job.recipe, spec.channels, len(dataset.labels), spec.height)
    if inputs.parent is not None:
        load_weights(model, inputs.parent.checkpoint)
    steps = max(job.recipe.min_steps, job.recipe.epochs * plan.steps_per_epoch())
    if inputs.parent is not None:
        steps = job.recipe.warm_steps
    model = model.to(place.device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    _Fitting(job, run, place, clock, on_progress, spec).fit(model, tensors, plan, steps)
    figures = RunFigures(
        seconds=0.0,
        steps=steps,
        parameters=parameter_count(model),
        device=str(place.device),
        world_size=place.world_size,
        train_images=len(samples),
        reviewed_images=int(reviewed.sum()),
        train_accuracy=accuracy_of(model, tensors, spec, place) or 0.0,
        calibration_accuracy=_split_accuracy(model, dataset, Split.CALIBRATION, spec, place),
        holdout_accuracy=_split_accuracy(model, dataset, Split.HOLDOUT, spec, place),
        drift_accuracy=_split_accuracy(model, dataset, Split.DRIFT, spec, place),
    )
    if place.rank == 0:
        on_progress(Progress("export", 0, 1, run.fp32.name))
        figures = _finish(job, run, model.cpu(), inputs, tensors, figures, lambda: clock.monotonic() - started)
        on_progress(Progress("export", 1, 1, f"holdout accuracy {_shown(figures.holdout_accuracy)}"))
    return figures


class _Fitting:
    """The training loop, with checkpoints."""

    def __init__(
        self, job: TrainJob, run: RunFolder, place: Place, clock: Clock, on_progress: OnProgress, spec: PreprocessSpec
    ) -> None:
        self._job, self._run, self._place = job, run, place
        self._clock, self._on_progress, self._spec = clock, on_progress, spec
        # What a checkpoint must have been made for: everything but how the job was started.
        what = msgspec.structs.replace(job, resume=False, out="", threads=1)
        self._fingerprint = hashlib.sha256(msgspec.json.encode(what)).hexdigest()

    def fit(self, model: nn.Module, tensors: ImageTensors, plan: BatchPlan, steps: int) -> None:
        """Train `model` in place for `steps` steps, from a checkpoint when the job says so."""
        recipe, place, job = self._job.recipe, self._place, self._job
        rate = recipe.warm_learning_rate if job.parent else recipe.learning_rate
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=0.25)
        pull = ParentPull(model, recipe.warm_pull if job.parent else 0.0, steps)
        first = 0
        if job.resume:
            first = load_checkpoint(self._run.checkpoint, self._fingerprint, model, optimizer, schedule)
        wrapped: nn.Module = model if place.world_size == 1 else DistributedDataParallel(model)
        saved_at = shown_at = self._clock.monotonic()
        for step in range(first, steps):
            loss = self._loss(wrapped, optimizer, tensors, plan, step)
            pull.step(optimizer, step)
            schedule.step()
            now = self._clock.monotonic()
            if now - shown_at >= 1.0 or step == steps - 1:
                shown_at = now
                value = float(loss)
                if value != value:
                    raise BadModel("training diverged: the loss is not a number", hint="use a lower --learning-rate")
                self._on_progress(Progress("train", step + 1, steps, f"loss {value:.3f}"))
            if place.rank == 0 and now - saved_at >= _SAVE_EVERY_S:
                saved_at = now
                save_checkpoint(self._run.checkpoint, self._fingerprint, step + 1, model, optimizer, schedule)
        if place.rank == 0:
            save_checkpoint(self._run.checkpoint, self._fingerprint, steps, model, optimizer, schedule)

    def _loss(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, tensors: ImageTensors, plan: BatchPlan, step: int
    ) -> torch.Tensor:
        recipe, place = self._job.recipe, self._place
        rows = place.share(plan.batch(step))
        pixels, labels = tensors.pixels[rows].to(place.device), tensors.labels[rows].to(place.device)
        generator = step_generator(self._job.seed, step, place.rank % 8)
        images = flip_and_shift(scale(pixels, self._spec), recipe.shift_px, generator)
        model.train()
        # bf16 halves a GPU's time; on CPUs without its instructions it is slower than fp32.
        with torch.autocast(place.device.type, torch.bfloat16, enabled=place.device.type == "cuda"):
            loss = loss_of(model(images), Targets(labels), recipe)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        return loss.detach()


def accuracy_of(model: nn.Module, tensors: ImageTensors, spec: PreprocessSpec, place: Place) -> float | None:
    """Return the share of images that `model` names right; None when there are none."""
    if len(tensors) == 0:
        return None
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(tensors), _EVALUATION_BATCH):
            pixels = tensors.pixels[start : start + _EVALUATION_BATCH].to(place.device)
            images = scale(pixels, spec).contiguous(memory_format=torch.channels_last)
            labels = tensors.labels[start : start + _EVALUATION_BATCH].to(place.device)
            right += int((model(images).scores.argmax(1) == labels).sum())
    return right / len(tensors)


def _split_accuracy(
    model: nn.Module, dataset: Dataset, split: Split, spec: PreprocessSpec, place: Place
) -> float | None:
    return accuracy_of(model, to_tensors(dataset.of_split(split), spec, dataset.index_of()), spec, place)


def _finish(
    job: TrainJob,
    run: RunFolder,
    model: nn.Module,
    inputs: TrainingInputs,
    tensors: ImageTensors,
    figures: RunFigures,
    elapsed_s: Callable[[], float],
) -> RunFigures:
    example = scale(tensors.pixels[:8], inputs.spec)
    export_onnx(model, example, run.fp32, like=inputs.parent.fp32 if inputs.parent else None)
    manifest = inputs.dataset.manifest()
    run.save_dataset(manifest)
    figures = msgspec.structs.replace(figures, seconds=round(elapsed_s(), 3))
    run.save_info(
        RunInfo(
            recipe=job.recipe,
            seed=job.seed,
            labels=inputs.dataset.labels,
            preprocess=inputs.spec,
            parent=str(inputs.parent.root) if inputs.parent else "",
            dataset_sha256=hashlib.sha256(msgspec.json.encode(manifest.entries)).hexdigest(),
            code=f"plumbline-edge {importlib.metadata.version('plumbline-edge')}, torch {torch.__version__}",
            figures=figures,
            warnings=inputs.dataset.warnings,
            simulated=job.simulated or (inputs.parent is not None and inputs.parent.info().simulated),
        )
    )
    return figures


@contextlib.contextmanager
def _place() -> Iterator[Place]:
    cuda = torch.cuda.is_available()
    if not torch.distributed.is_torchelastic_launched():
        yield Place(torch.device("cuda" if cuda else "cpu"))
        return
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        device = torch.device("cpu")
        if cuda:
            device = torch.device("cuda", rank % torch.cuda.device_count())
            torch.cuda.set_device(device)
        yield Place(device, rank, world_size)
    finally:
        torch.distributed.destroy_process_group()


def _shown(accuracy: float | None) -> str:
    return "not measured" if accuracy is None else f"{accuracy:.3f}"


if __name__ == "__main__":
    sys.exit(main())
