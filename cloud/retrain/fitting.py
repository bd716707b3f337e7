"""The training loop: step, look, save; a killed run goes on from its last checkpoint and ends with the same bits.

Nothing in the loop that changes a weight reads a clock or a generator of its own: a step's batch comes from the seed and the step,
evaluations come at fixed steps, and what else has a memory (optimizer, schedule, average, early stop) is in the checkpoint.
"""

from __future__ import annotations

import errno
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cloud.ports.clock import Clock
from cloud.retrain.checkpoint import Saved, load_checkpoint, restore, save_checkpoint
from cloud.retrain.early_stop import EarlyStop
from cloud.retrain.evaluation import Evaluation
from cloud.retrain.feed import Feed
from cloud.retrain.job import TrainJob
from cloud.retrain.loss_watch import LossWatch
from cloud.retrain.metrics_log import Metric, MetricsLog
from cloud.retrain.pace import Pace
from cloud.retrain.parent_pull import ParentPull
from cloud.retrain.place import Place
from cloud.retrain.progress import OnProgress, Progress
from cloud.retrain.rate_schedule import make_schedule
from cloud.retrain.run_folder import Head, Recipe, RunFolder
from cloud.retrain.teacher import Teacher
from cloud.retrain.train_step import Gradients
from cloud.retrain.weight_average import WeightAverage

_SHOW_EVERY_S = 1.0
_MOST_EVALUATIONS = 40
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done: `steps` in all; `rate`, the highest; `pull` toward the parent, 0 for none."""

    steps: int
    rate: float
    pull: float = 0.0


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
        self, job: TrainJob, recipe: Recipe, run: RunFolder, place: Place, clock: Clock, on_progress: OnProgress
    ) -> None:
        """`recipe`: the job's, with what its parent says."""
        self._job, self._recipe, self._run, self._place = job, recipe, run, place
        self._clock, self._on_progress = clock, on_progress
        # What a checkpoint must have been made for: everything but how the job was started.
        what = msgspec.structs.replace(job, resume=False, out="", threads=1, save_every_s=0.0, plots=True)
        self._fingerprint = hashlib.sha256(msgspec.json.encode(what)).hexdigest()
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
        place, recipe = self._place, self._recipe
        optimizer = torch.optim.AdamW(model.parameters(), lr=plan.rate, weight_decay=recipe.weight_decay)
        schedule = make_schedule(recipe.schedule, optimizer, plan.rate, plan.steps)
        pull = ParentPull(model, plan.pull, plan.steps)
        average = WeightAverage(model, recipe.ema) if recipe.ema > 0 else None
        kept = model if average is None else average.module
        stop = EarlyStop(recipe.patience)
        gradients = Gradients(self._wrapped(model), recipe, place, good, self._warn)
        parts: dict[str, Any] = {"optimizer": optimizer, "schedule": schedule, "stop": stop}
        if average is not None:
            parts["average"] = average
        saved = load_checkpoint(self._run.checkpoint, self._fingerprint) if self._job.resume else None
        first, done = 0, plan.steps
        if saved is not None:
            restore(model, saved.model, self._run.checkpoint)
            if saved.finished:
                return Fit(saved.step, best_step=int(saved.parts["best_step"]), pieces=int(saved.parts["pieces"]))
            for name, part in parts.items():
                part.load_state_dict(saved.parts[name])
            first, gradients.pieces = saved.step, int(saved.parts["pieces"])
        metrics = MetricsLog(self._run.metrics, plan.steps)
        if place.is_first:
            metrics.begin(first)
        watch = LossWatch()
        pace = Pace(self._clock, recipe.batch_size)
        evaluate_every = max(feed.plan.steps_per_epoch(), math.ceil(plan.steps / _MOST_EVALUATIONS))
        saved_at = shown_at = self._clock.monotonic()
        for step in range(first, plan.steps):
            images, targets = feed.batch(step, place)
            if teacher is not None:
                targets = replace(targets, teacher=teacher.answer(images))
            loss = gradients.fill(images, targets)
            watch.add(step + 1, loss)
            rate = float(optimizer.param_groups[0]["lr"])
            pull.step(optimizer, step)
            schedule.step()
            if average is not None:
                average.update(model, step)
            pace.count()
            last, stopping = step == plan.steps - 1, False
            found: Evaluation | None = None
            if (step + 1) % evaluate_every == 0 or (last and recipe.patience > 0):
                if place.is_first and step + 1 >= pull.settled_at:
                    watch.look()
                    if average is not None:
                        pull.settle(kept)
                    with pace.pause():
                        found = evaluate(kept)
                    stopping = found is not None and stop.look(found, kept, step + 1)
                stopping = recipe.patience > 0 and place.agree(stopping)
            if place.is_first and (found is not None or metrics.is_due(step + 1)):
                metrics.add(_metric(step + 1, watch.look(), rate, pace.images_per_s(), found))
            now = self._clock.monotonic()
            if now - shown_at >= _SHOW_EVERY_S or last or stopping:
                shown_at = now
                self._show(step + 1, plan.steps, watch.look(), pace, found)
            if stopping:
                done = step + 1
                break
            if place.is_first and now - saved_at >= self._job.save_every_s:
                saved_at = now
                watch.look()
                watch.check_weights(model.state_dict(), step + 1)
                states = {name: part.state_dict() for name, part in parts.items()}
                states["pieces"] = gradients.pieces
                self._save(Saved(step + 1, model.state_dict(), parts=states))
        watch.look()
        if average is not None:
            pull.settle(kept)
            model.load_state_dict(kept.state_dict())
        stop.restore_best(model)
        place.share_weights(model)
        watch.check_weights(model.state_dict(), done)
        if place.is_first:
            ends = {"best_step": stop.best_step, "pieces": gradients.pieces}
            save_checkpoint(self._run.checkpoint, self._fingerprint, Saved(done, model.state_dict(), True, ends))
        if metrics.lost:
            self._warnings.append(f"{metrics.lost} lines of {self._run.metrics.name} found no room")
        if self._skipped:
            self._warnings.append(f"{self._skipped} checkpoints found no room on the disk and were left out")
        return Fit(
            done, stop.best_step, round(pace.images_per_s(), 1), gradients.pieces, self._skipped, tuple(self._warnings)
        )

    def _wrapped(self, model: nn.Module) -> nn.Module:
        """Return `model` as it is called in training: in step with other processes, compiled."""
        wrapped = model
        if self._place.world_size > 1:
            # Images without masks leave the mask's branch without gradients.
            partly = self._recipe.head is Head.SEGMENT
            wrapped = DistributedDataParallel(wrapped, find_unused_parameters=partly)
        if self._recipe.compile:
            if self._place.device.type == "cuda":
                return torch.compile(wrapped)  # type: ignore[return-value]  # a module, its stub says a callable
            self._warnings.append("the model was not compiled: that helps on a GPU only")
        return wrapped

    def _save(self, saved: Saved) -> None:
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

    def _show(self, done: int, steps: int, loss: float, pace: Pace, found: Evaluation | None) -> None:
        speed = pace.images_per_s()
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
