"""Runs of the product, as `bench retrain` makes them: train, quantize, and ask the artefact that ships."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.clock import SystemClock
from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.contender import load_contender
from cloud.quantize.job import QuantizeJob
from cloud.quantize.quantize_run import quantize_run
from cloud.retrain.job import TrainJob
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.train import train
from scripts.benches.retrain_pictures import Picture

# A bench trains many runs at once, one a core; in a process of its own each would pay seconds of imports.
THREADS = 1


_AS_THE_PRODUCT = QuantizeJob(run="")


def make_run(job: TrainJob, quantizing: QuantizeJob = _AS_THE_PRODUCT) -> tuple[RunFolder, float]:
    """Train `job` and quantize it as `quantizing` says, whatever run that names, or take the run that is there already.

    Returns: the run, and the seconds it took.
    """
    run = RunFolder(Path(job.out))
    begun = time.perf_counter()
    with _alone(run.root):
        if not run.is_trained() or run.info().recipe != job.recipe:
            # Half a run of a bench that was stopped, or one that an older bench made otherwise.
            shutil.rmtree(run.root, ignore_errors=True)
            train(msgspec.structs.replace(job, plots=False), SystemClock())
        if not (run.root / "quantize.json").is_file():
            quantize_run(msgspec.structs.replace(quantizing, run=job.out, threads=THREADS), SystemClock())
    return run, time.perf_counter() - begun


def shipped_right(folder: Path, pictures: Sequence[Picture]) -> NDArray[np.bool_]:
    """Return bool[N]: which pictures the artefact that ships from a run names right."""
    contender = load_contender(folder)
    runner = ArtefactRunner(contender.file, contender.preprocess, threads=THREADS)
    scores = runner.scores([p.pixels for p in pictures])
    names = np.array([label.name for label in contender.labels])
    return np.asarray(names[scores.argmax(1)] == np.array([p.label for p in pictures]), np.bool_)


def file_right(run: RunFolder, file: Path, pictures: Sequence[Picture]) -> NDArray[np.bool_]:
    """Return bool[N]: which pictures one file of a run, whether it ships or not, names right."""
    info = run.info()
    scores = ArtefactRunner(file, info.preprocess, threads=THREADS).scores([p.pixels for p in pictures])
    names = np.array([label.name for label in info.labels])
    return np.asarray(names[scores.argmax(1)] == np.array([p.label for p in pictures]), np.bool_)


def class_mean(right: NDArray[np.bool_], pictures: Sequence[Picture]) -> float:
    """Return the mean recall over labels: what the share of right answers hides where one label has most of the images."""
    labels = np.array([p.label for p in pictures])
    return float(np.mean([right[labels == label].mean() for label in sorted(set(labels))]))


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold a lock beside `root`: two workers may want the same base model."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with root.with_name(root.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
