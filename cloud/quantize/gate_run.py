"""Measure a candidate and the incumbent side by side, and ask the gate.

`python -m cloud.quantize.gate_run JOB.json` is the same in a process of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.clock import SystemClock
from cloud.drift.held_out import HeldOut, held_out
from cloud.gate.checks import gate
from cloud.gate.corruptions import Corruption, corrupt
from cloud.gate.scorecard import (
    ClassFigures,
    CorruptionFigures,
    GateReport,
    GateRules,
    Incumbent,
    PairedFigures,
    Scorecard,
    SliceFigures,
)
from cloud.ports.clock import Clock
from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.calibration import stratified
from cloud.quantize.contender import Contender, load_contender
from cloud.quantize.measure import median_latency_ms
from cloud.registry.blobs import sha256_of
from cloud.retrain.dataset import Sample, reload_dataset
from cloud.retrain.progress import OnProgress, Progress, ignore_progress, print_progress, run_job
from cloud.retrain.run_folder import RunFolder, Split
from contract.errors import BadDataset, InvalidConfig
from contract.manifest import LabelKind

_SEVERITIES = (1, 3)
_BINS = 10


class GateJob(msgspec.Struct, frozen=True):
    """A candidate run, and the incumbent (a run or an unpacked bundle), None for a first model."""

    run: str
    incumbent: str | None = None
    rules: GateRules = GateRules()
    corruption_images: int = 60
    seed: int = 0
    threads: int = 2


def gate_run(job: GateJob, clock: Clock, on_progress: OnProgress = ignore_progress) -> GateReport:
    """Judge a quantized run, write gate.json and validation.json there, and return the report.

    Raises:
        NotFound: the run is not trained and quantized, or the incumbent is neither run nor bundle.
        BadDataset: an image is gone or has changed, or there is no holdout to judge on.
        BadModel: an artefact does not load or breaks.
    """
    run = RunFolder(Path(job.run))
    candidate = load_contender(run.root)
    info = run.info()
    judged = {Split.HOLDOUT, Split.DRIFT}
    dataset = reload_dataset(run.dataset(), info.labels, lambda entry: entry.split in judged)
    base, drift = dataset.of_split(Split.HOLDOUT), dataset.of_split(Split.DRIFT)
    if not base:
        raise BadDataset(f"{run.root} holds no images back to judge on", hint="train with a --holdout above 0")
    slices = _Judging(base, drift, stratified(base, job.corruption_images, job.seed), job)
    on_progress(Progress("gate", 0, 2, f"candidate {candidate.file.name}"))
    ours = _measure(candidate, slices, clock, fp32=run.fp32 if candidate.file != run.fp32 else None)
    incumbent = None
    if job.incumbent is not None:
        on_progress(Progress("gate", 1, 2, f"incumbent {job.incumbent}"))
        theirs = _measure(load_contender(Path(job.incumbent)), slices, clock, fp32=None)
        incumbent = Incumbent(
            theirs.card,
            _pair(ours.base_right, theirs.base_right),
            _pair(ours.drift_right, theirs.drift_right) if drift else None,
        )
    report = gate(ours.card, incumbent, job.rules)
    if ours.held_out is not None:
        run.save_held_out(ours.held_out)
    run.save_gate_report(report)
    on_progress(Progress("gate", 2, 2, "passed" if report.passed else "failed"))
    return report


def main(arguments: list[str] | None = None) -> int:
    """Gate as the job file, the only argument, says."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m cloud.quantize.gate_run JOB.json", file=sys.stderr)
        return 2
    return run_job(lambda: gate_run(_read_job(Path(given[0])), SystemClock(), print_progress))


def _read_job(file: Path) -> GateJob:
    try:
        return msgspec.json.decode(file.read_bytes(), type=GateJob)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidConfig(f"{file} is no gate job: {error}", hint="use 'plumbline-cloud gate'") from error


@dataclass(frozen=True, slots=True)
class _Judging:
    base: Sequence[Sample]
    drift: Sequence[Sample]
    corrupted: Sequence[Sample]
    job: GateJob


@dataclass(frozen=True, slots=True)
class _Measured:
    card: Scorecard
    base_right: NDArray[np.bool_]
    drift_right: NDArray[np.bool_]
    held_out: HeldOut | None


def _measure(contender: Contender, slices: _Judging, clock: Clock, *, fp32: Path | None) -> _Measured:
    runner = ArtefactRunner(contender.file, contender.preprocess, threads=slices.job.threads)
    pixels = [s.pixels for s in slices.base]
    probabilities = contender.probabilities(runner.scores(pixels))
    base_right = contender.right(probabilities, slices.base)
    drift_right = np.zeros(0, np.bool_)
    if slices.drift:
        drift_scores = runner.scores([s.pixels for s in slices.drift])
        drift_right = contender.right(contender.probabilities(drift_scores), slices.drift)
    fp32_correct = fp32_agrees = None
    if fp32 is not None:
        full = ArtefactRunner(fp32, contender.preprocess, threads=slices.job.threads).scores(pixels)
        fp32_correct = int(contender.right(full, slices.base).sum())
        fp32_agrees = int((full.argmax(1) == probabilities.argmax(1)).sum())
    passed, missed = _automatic_passes(contender, probabilities, slices.base)
    card = Scorecard(
        artefact=str(contender.file),
        base=SliceFigures(len(base_right), int(base_right.sum())),
        drift=SliceFigures(len(drift_right), int(drift_right.sum())) if slices.drift else None,
        classes=_classes(contender, base_right, slices.base),
        corruptions=_corruptions(contender, runner, slices),
        passed=passed,
        missed_defects=missed,
        calibration_error=_calibration_error(probabilities.max(1), base_right),
        golden_error=_golden_error(contender, runner),
        golden_tolerance=contender.golden_tolerance,
        fp32_correct=fp32_correct,
        fp32_agrees=fp32_agrees,
        median_ms=median_latency_ms(runner, pixels[0], clock),
        size_bytes=contender.file.stat().st_size,
    )
    return _Measured(card, base_right, drift_right, _held_out(contender, probabilities, slices.base))


def _held_out(contender: Contender, probabilities: NDArray[np.float32], samples: Sequence[Sample]) -> HeldOut | None:
    names = [label.name for label in contender.labels]
    place = {name: number for number, name in enumerate(names)}
    truth = np.array([place.get(s.entry.label, -1) for s in samples], np.int64)
    return held_out(sha256_of(contender.file), names, truth, probabilities)


def _classes(contender: Contender, right: NDArray[np.bool_], samples: Sequence[Sample]) -> tuple[ClassFigures, ...]:
    truth = np.array([s.entry.label for s in samples])
    return tuple(
        ClassFigures(label.name, int((truth == label.name).sum()), int(right[truth == label.name].sum()))
        for label in contender.labels
        if (truth == label.name).any()
    )


def _corruptions(contender: Contender, runner: ArtefactRunner, slices: _Judging) -> tuple[CorruptionFigures, ...]:
    figures = []
    for kind in Corruption:
        for severity in _SEVERITIES:
            images = [
                corrupt(s.pixels, kind, severity, slices.job.seed + number) for number, s in enumerate(slices.corrupted)
            ]
            right = contender.right(runner.scores(images), slices.corrupted)
            figures.append(CorruptionFigures(kind.value, severity, len(right), int(right.sum())))
    return tuple(figures)


def _automatic_passes(
    contender: Contender, probabilities: NDArray[np.float32], samples: Sequence[Sample]
) -> tuple[int, int]:
    """Return (automatic PASSes, defects among them), by the rule of contract.manifest.Thresholds."""
    good = np.array([label.kind is LabelKind.GOOD for label in contender.labels])
    passes = good[probabilities.argmax(1)] & (probabilities[:, good].sum(1) >= contender.thresholds.pass_at)
    kind_of = {label.name: label.kind for label in contender.labels}
    defect = np.array([kind_of.get(s.entry.label, LabelKind.DEFECT) is LabelKind.DEFECT for s in samples])
    return int(passes.sum()), int((passes & defect).sum())


def _calibration_error(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error over equal bins (Guo et al. 2017)."""
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    total = 0.0
    for number in range(_BINS):
        inside = bins == number
        if inside.any():
            total += float(inside.sum()) * abs(float(confidence[inside].mean()) - float(right[inside].mean()))
    return total / len(right)


def _golden_error(contender: Contender, runner: ArtefactRunner) -> float | None:
    if contender.golden is None:
        return None
    pixels, scores = contender.golden
    return float(np.abs(runner.scores(list(pixels)) - scores).max())


def _pair(candidate: NDArray[np.bool_], incumbent: NDArray[np.bool_]) -> PairedFigures:
    return PairedFigures(len(candidate), int((candidate & ~incumbent).sum()), int((incumbent & ~candidate).sum()))


if __name__ == "__main__":
    sys.exit(main())
