"""The training loop: step, look, save; a killed run goes on from its last checkpoint and ends with the same bits.

Nothing in the loop that changes a weight reads a clock or a generator of its own: a step's batch comes from the seed and the step,
as do the numbers that a network draws by itself; evaluations come at fixed steps, and what else has a memory (optimizer, schedule,
average, early stop) is in the checkpoint.
"""

from __future__ import annotations

import errno
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cloud.ports.clock import Clock
from cloud.retrain.batches import step_seed
from cloud.retrain.checkpoint import Saved, load_checkpoint, restore, save_checkpoint
from cloud.retrain.evaluation import Evaluation
from cloud.retrain.feed import Feed
from cloud.retrain.job import TrainJob
from cloud.retrain.learning import Learning, Plan
from cloud.retrain.loss_watch import LossWatch
from cloud.retrain.metrics_log import Metric, MetricsLog
from cloud.retrain.pace import Pace
from cloud.retrain.place import Place
from cloud.retrain.progress import OnProgress, Progress
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import Head, Recipe
from cloud.retrain.teacher import Teacher
from cloud.retrain.train_step import Gradients

_SHOW_EVERY_S = 1.0
_MOST_EVALUATIONS = 40
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Fit:
    """What the loop did."""

    steps: int
    best_step: int = 0
    images_per_s: float = 0.0
    pieces: int = 1
    skipped_checkpoints: int = 0
    warnings: tuple[str, ...] = ()


class Fitting:
    """Trains a model in place."""

    def __init__(
        self,
        job: TrainJob,
        recipe: Recipe,
        run: RunFolder,
        place: Place,
        clock: Clock,
        on_progress: OnProgress,
        images: str = "",
    ) -> None:
        """`recipe`: the job's, with what its parent says. `images`: the digest of what is learnt from."""
        self._job, self._recipe, self._run, self._place = job, recipe, run, place
        self._clock, self._on_progress = clock, on_progress
        # What a checkpoint must have been made for: everything but how the job was started. A folder that has got images since,
        # or labels, would give batches that belong to neither.
        what = msgspec.structs.replace(job, resume=False, out="", threads=1, save_every_s=0.0, plots=True)
        self._fingerprint = hashlib.sha256(msgspec.json.encode((what, images))).hexdigest()
        self._watch = LossWatch()
        self._warnings: list[str] = []
        self._skipped = 0

    def fit(
        self,
        model: nn.Module,
        feed: Feed,
        plan: Plan,
        evaluate: Callable[[nn.Module], Evaluation | None],
        *,
        teacher: Teacher | None = None,
        good: tuple[int, ...] = (),
    ) -> Fit:
        """Train `model` as `plan` says, from a checkpoint when the job says so.

        Args:
            evaluate: on the calibration split; asked in the first process only.
            good: places of labels that mean a good part.
        Raises:
            BadModel: training diverged, or a checkpoint does not fit.
            OSError: no room for the last checkpoint.
        """
        place, recipe, watch = self._place, self._recipe, self._watch
        gradients = Gradients(self._wrapped(model), recipe, place, good, self._warn)
        learning = Learning(model, recipe, plan, gradients)
        saved = load_checkpoint(self._run.checkpoint, self._fingerprint) if self._job.resume else None
        if saved is not None:
            restore(model, saved.model, self._run.checkpoint)
            if saved.finished:
                return Fit(saved.step, best_step=int(saved.parts["best_step"]), pieces=int(saved.parts["pieces"]))
            learning.load_parts(saved.parts)
        first = saved.step if saved is not None else 0
        metrics = MetricsLog(self._run.metrics, plan.steps)
        if place.is_first:
            metrics.begin(first)
        pace = Pace(self._clock, recipe.batch_size)
        evaluate_every = max(feed.plan.steps_per_epoch(), math.ceil(plan.steps / _MOST_EVALUATIONS))
        saved_at = shown_at = self._clock.monotonic()
        done = first
        while done < plan.steps:
            # What a user's network draws by itself (dropout) depends on the step alone, too.
            torch.manual_seed(step_seed(self._job.seed, done, 32 + place.rank % 8))
            images, targets = feed.batch(done, place)
            if teacher is not None:
                targets = replace(targets, teacher=teacher.answer(images))
            rate = learning.rate
            watch.add(done + 1, learning.step(images, targets, done))
            done += 1
            pace.count()
            last, stopping = done == plan.steps, False
            found: Evaluation | None = None
            if done % evaluate_every == 0 or (last and recipe.patience > 0):
                if place.is_first:
                    watch.look()
                    with pace.pause():
                        found, stopping = learning.look(evaluate, done)
                # Only a run that may stop early needs the others' ear.
                stopping = recipe.patience > 0 and place.agree(stopping)
            if place.is_first and (found is not None or metrics.is_due(done)):
                metrics.add(_metric(done, watch.look(), rate, pace.images_per_s(), found))
            now = self._clock.monotonic()
            if now - shown_at >= _SHOW_EVERY_S or last or stopping:
                shown_at = now
                self._show(done, plan.steps, pace, found)
            if stopping:
                break
            if place.is_first and now - saved_at >= self._job.save_every_s:
                saved_at = now
                self._save(Saved(done, model.state_dict(), parts=learning.parts()))
        watch.look()
        learning.end()
        place.share_weights(model)
        watch.check_weights(model.state_dict(), done)
        best_step = learning.stop.best_step
        if place.is_first:
            ends = {"best_step": best_step, "pieces": gradients.pieces}
            save_checkpoint(self._run.checkpoint, self._fingerprint, Saved(done, model.state_dict(), True, ends))
        if metrics.lost:
            self._warnings.append(f"{metrics.lost} lines of {self._run.metrics.name} found no room")
        if self._skipped:
            self._warnings.append(f"{self._skipped} checkpoints found no room on the disk and were left out")
        speed = round(pace.images_per_s(), 1)
        return Fit(done, best_step, speed, gradients.pieces, self._skipped, tuple(self._warnings))

    def _wrapped(self, model: nn.Module) -> nn.Module:
        """Return `model` as it is called in training: in step with other processes, compiled."""
        wrapped = model
        if self._place.world_size > 1:
            # Images without masks leave the mask's branch without gradients, and who knows what a user's network leaves.
            partly = self._recipe.head is Head.SEGMENT or ":" in self._recipe.model
            wrapped = DistributedDataParallel(wrapped, find_unused_parameters=partly)
        if self._recipe.compile:
            if self._place.device.type == "cuda":
                return torch.compile(wrapped)  # type: ignore[return-value]  # a module, its stub says a callable
            self._warnings.append("the model was not compiled: that helps on a GPU only")
        return wrapped

    def _save(self, saved: Saved) -> None:
        self._watch.look()
        self._watch.check_weights(saved.model, saved.step)
        try:
            save_checkpoint(self._run.checkpoint, self._fingerprint, saved)
        except OSError as error:
            if not is_disk_full(error):
                raise
            self._skipped += 1
            self._on_progress(
                Progress("checkpoint", 0, 1, f"no room on the disk at step {saved.step}: training goes on")
            )

    def _warn(self, said: str) -> None:
        self._warnings.append(said)
        self._on_progress(Progress("memory", 0, 1, said))

    def _show(self, done: int, steps: int, pace: Pace, found: Evaluation | None) -> None:
        loss, speed = self._watch.look(), pace.images_per_s()
        left = pace.left_s(steps - done)
        text = f"loss {loss:.3f}, {speed:.0f} images/s, {int(left) // 60}:{int(left) % 60:02d} left"
        if found is not None:
            text += f", calibration accuracy {found.accuracy:.3f}"
        self._on_progress(Progress("train", done, steps, text, loss, round(speed, 1), round(left, 1)))


def is_disk_full(error: OSError) -> bool:
    """Return whether an error means that a disk, a quota or a limit leaves no room."""
    return error.errno in _DISK_FULL


def _metric(step: int, loss: float, rate: float, images_per_s: float, found: Evaluation | None) -> Metric:
    if found is None:
        return Metric(step, round(loss, 6), rate, round(images_per_s, 1))
    return Metric(step, round(loss, 6), rate, round(images_per_s, 1), found.accuracy, round(found.loss, 6))
