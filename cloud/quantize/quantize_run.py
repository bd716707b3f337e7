"""Quantize a trained run: sweep calibrations, choose thresholds, measure, write golden vectors.

`python -m cloud.quantize.quantize_run JOB.json` is the same in a process of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.clock import SystemClock
from cloud.ports.clock import Clock
from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.calibration import stratified
from cloud.quantize.golden import choose_golden, golden_tolerance
from cloud.quantize.int8 import Calibration, quantize_int8
from cloud.quantize.measure import median_latency_ms, share_equal
from cloud.quantize.thresholds import choose_thresholds
from cloud.retrain.dataset import Dataset, Sample, reload_dataset
from cloud.retrain.progress import OnProgress, Progress, ignore_progress, print_progress, run_job
from cloud.retrain.reviewed import is_reviewed
from cloud.retrain.run_folder import ArtefactFigures, QuantizeReport, RunFolder, RunInfo, Split, SweepFigures, publish
from contract.decode import softmax
from contract.errors import BadDataset, BadModel, InvalidConfig
from contract.preprocess import preprocess


class QuantizeJob(msgspec.Struct, frozen=True):
    """What to quantize, and how.

    `methods`: calibrations to try. `images`: how many training images calibrate. `max_drop`: accuracy that int8 may lose on the
    calibration split before fp32 ships instead. `alpha`, `delta`: the promise behind `pass_at` (see thresholds).
    """

    run: str
    methods: tuple[Calibration, ...] = tuple(Calibration)
    images: int = 96
    max_drop: float = 0.01
    alpha: float = 0.02
    delta: float = 0.1
    seed: int = 0
    threads: int = 2


def quantize_run(job: QuantizeJob, clock: Clock, on_progress: OnProgress = ignore_progress) -> QuantizeReport:
    """Make int8.onnx, golden.npz and quantize.json in a trained run folder.

    Raises:
        NotFound: the folder holds no trained run.
        BadDataset: an image of the run is gone or has changed, or there are none to measure on.
        BadModel: no calibration gives a model.
    """
    started = clock.monotonic()
    run = RunFolder(Path(job.run))
    info = run.info()
    on_progress(Progress("read images", 0, 1, ""))
    dataset = reload_dataset(run.dataset(), info.labels)
    slices = _Slices.of(dataset)
    fp32 = ArtefactRunner(run.fp32, info.preprocess, threads=job.threads)
    sweep = _sweep(job, run, info, slices, fp32, on_progress)
    int8 = ArtefactRunner(run.int8, info.preprocess, threads=job.threads)
    best = next(s for s in sweep if not s.failure)
    fp32_accuracy = slices.accuracy(fp32.scores(slices.judging_pixels), slices.judging)
    ships = run.int8.name if fp32_accuracy - best.accuracy <= job.max_drop else run.fp32.name
    runner = int8 if ships == run.int8.name else fp32
    on_progress(Progress("measure", 0, 1, f"{ships} ships"))
    thresholds = choose_thresholds(
        softmax(runner.scores(slices.judging_pixels)),
        slices.truth(slices.judging),
        info.labels,
        alpha=job.alpha,
        delta=job.delta,
    )
    reference = fp32.scores(slices.measuring_pixels)
    artefacts = tuple(
        _figures(r, precision, method, slices, reference, clock)
        for r, precision, method in ((fp32, "fp32", "as trained"), (int8, "int8", best.method))
    )
    tolerance = _write_golden(job, run, runner, fp32, slices)
    report = QuantizeReport(
        artefacts, ships, thresholds, tuple(sweep), tolerance, round(clock.monotonic() - started, 3)
    )
    run.save_quantize_report(report)
    on_progress(Progress("measure", 1, 1, f"int8 accuracy {artefacts[1].accuracy}"))
    return report


def parse_methods(text: str) -> tuple[Calibration, ...]:
    """Return the calibrations in a comma-separated list.

    Raises:
        InvalidConfig: one of them does not exist.
    """
    try:
        return tuple(Calibration(name.strip()) for name in text.split(","))
    except ValueError as error:
        raise InvalidConfig(
            f"'{text}' names a calibration that does not exist", hint=f"use {', '.join(c.value for c in Calibration)}"
        ) from error


def main(arguments: list[str] | None = None) -> int:
    """Quantize as the job file, the only argument, says."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m cloud.quantize.quantize_run JOB.json", file=sys.stderr)
        return 2
    return run_job(lambda: quantize_run(_read_job(Path(given[0])), SystemClock(), print_progress))


def _read_job(file: Path) -> QuantizeJob:
    try:
        return msgspec.json.decode(file.read_bytes(), type=QuantizeJob)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidConfig(f"{file} is no quantization job: {error}", hint="use 'plumbline-cloud quantize'") from error


class _Slices:
    """The dataset by what each part of it decides here."""

    def __init__(self, dataset: Dataset) -> None:
        self._index_of = dataset.index_of()
        self.train = dataset.of_split(Split.TRAIN)
        # Without a calibration split the training images must do; the holdout never chooses anything.
        self.judging = dataset.of_split(Split.CALIBRATION) or self.train
        self.measuring = dataset.of_split(Split.HOLDOUT) or self.judging
        self.drift = dataset.of_split(Split.DRIFT)
        self.judging_pixels = [s.pixels for s in self.judging]
        self.measuring_pixels = [s.pixels for s in self.measuring]

    @classmethod
    def of(cls, dataset: Dataset) -> _Slices:
        slices = cls(dataset)
        if not slices.judging or not slices.train:
            raise BadDataset("the run's dataset has no training images", hint="train again")
        return slices

    def truth(self, samples: list[Sample]) -> NDArray[np.int64]:
        return np.array([self._index_of[s.entry.label] for s in samples], np.int64)

    def accuracy(self, scores: NDArray[np.float32], samples: list[Sample]) -> float:
        return share_equal(scores.argmax(1), self.truth(samples))

    def calibrating(self, count: int, seed: int) -> list[Sample]:
        """Return images for calibration; reviewed ones get half, since int8 ranges must cover the drifted frames too."""
        reviewed = [s for s in self.train if is_reviewed(s.entry)]
        base = [s for s in self.train if not is_reviewed(s.entry)]
        some = stratified(reviewed, count // 2, seed)
        return stratified(base, count - len(some), seed) + some


def _sweep(
    job: QuantizeJob, run: RunFolder, info: RunInfo, slices: _Slices, fp32: ArtefactRunner, on_progress: OnProgress
) -> list[SweepFigures]:
    """Try every calibration, keep the best as int8.onnx, and return the figures, best first."""
    tensors = [preprocess(s.pixels, info.preprocess) for s in slices.calibrating(job.images, job.seed)]
    reference = fp32.scores(slices.judging_pixels)
    parent = _parent_of(info)
    # Where every weight has moved, its old code is no use, and the step fitted to it a little worse.
    near = parent is not None and info.recipe.warm_pull > 0
    beside = parent.int8 if parent is not None and near and parent.int8.is_file() else None
    tried: list[tuple[SweepFigures, Path]] = []
    for number, method in enumerate(job.methods):
        on_progress(Progress("quantize", number, len(job.methods), method.value))
        file = run.root / f"int8.{method.value}.tmp.onnx"
        try:
            quantize_int8(run.fp32, file, tensors, method, parent=beside)
        except BadModel as error:
            tried.append((SweepFigures(method.value, 0.0, 0.0, error.message), file))
            continue
        scores = ArtefactRunner(file, info.preprocess, threads=job.threads).scores(slices.judging_pixels)
        agreement = share_equal(scores.argmax(1), reference.argmax(1))
        figures = SweepFigures(method.value, agreement, slices.accuracy(scores, slices.judging))
        tried.append((figures, file))
    # Accuracy first; among equals the one closest to full precision; among those the first, which is the cheapest.
    tried.sort(key=lambda t: (bool(t[0].failure), -t[0].accuracy, -t[0].agreement_with_fp32))
    best, file = tried[0]
    if best.failure:
        raise BadModel(f"no calibration gave an int8 model: {best.failure}", hint="try --methods minmax")
    publish(file, run.int8)
    for _, other in tried[1:]:
        other.unlink(missing_ok=True)
    return [figures for figures, _ in tried]


def _parent_of(info: RunInfo) -> RunFolder | None:
    """Return the run that this one was trained from; its files may be gone, then a run is quantized by itself."""
    return RunFolder(Path(info.parent)) if info.parent else None


def _figures(
    runner: ArtefactRunner, precision: str, method: str, slices: _Slices, reference: NDArray[np.float32], clock: Clock
) -> ArtefactFigures:
    scores = runner.scores(slices.measuring_pixels)
    drift = None
    if slices.drift:
        drift = slices.accuracy(runner.scores([s.pixels for s in slices.drift]), slices.drift)
    return ArtefactFigures(
        file=runner.file.name,
        precision=precision,
        method=method,
        accuracy=slices.accuracy(scores, slices.measuring),
        drift_accuracy=drift,
        agreement_with_fp32=share_equal(scores.argmax(1), reference.argmax(1)),
        size_bytes=runner.file.stat().st_size,
        median_ms=median_latency_ms(runner, slices.measuring_pixels[0], clock),
    )


def _write_golden(
    job: QuantizeJob, run: RunFolder, runner: ArtefactRunner, fp32: ArtefactRunner, slices: _Slices
) -> float:
    """Write golden.npz and return the error that a device may show."""
    labels = [label.name for label in run.info().labels]
    parent = _parent_of(run.info())
    golden = parent.load_golden() if parent is not None and parent.golden.is_file() else None
    pixels, scores = choose_golden(runner, slices.measuring, labels, seed=job.seed, parent=golden)
    run.save_golden(pixels, scores)
    return golden_tolerance(scores, fp32.scores(list(pixels)) if runner is not fp32 else None)


if __name__ == "__main__":
    sys.exit(main())
