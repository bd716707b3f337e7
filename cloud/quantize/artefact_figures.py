"""An artefact's own temperature and thresholds, and what it does on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud.gate.scorecard import Promise
from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.choice import Contestant
from cloud.quantize.job import QuantizeJob
from cloud.quantize.measure import Latency, share_equal
from cloud.quantize.new_look import tighten
from cloud.quantize.slices import Slices
from cloud.quantize.temperature import Fit, calibration_error, fit_temperature, write_temperature
from cloud.quantize.thresholds import choose_thresholds
from cloud.registry.blobs import sha256_of
from cloud.retrain.run_records import ArtefactFigures, RunInfo
from contract.manifest import OutputKind, Thresholds


@dataclass(frozen=True, slots=True)
class Artefact:
    """A model file at temperature 1, and how it was made."""

    file: Path
    precision: str
    method: str
    scheme: str = ""
    excluded: tuple[str, ...] = ()
    qat_steps: int = 0


@dataclass(frozen=True, slots=True)
class Tuned:
    """An artefact with its temperature written in. `calibrated_at`: the `pass_at` that the calibration split alone gave. `why`: why
    the temperature is 1 where nothing was fitted, else ""."""

    artefact: Artefact
    runner: ArtefactRunner
    temperature: float
    calibrated_at: float
    thresholds: Thresholds
    judged_accuracy: float
    why: str


def tune(artefact: Artefact, info: RunInfo, slices: Slices, job: QuantizeJob, promise: Promise) -> Tuned:
    """Fit the artefact's temperature on the calibration split, write it into its file, and choose thresholds after it, as strict
    as the newest look of the parts asks for.

    Raises:
        BadModel: the file does not load or refuses its input.
    """
    bare = ArtefactRunner(artefact.file, info.preprocess, threads=job.threads)
    scores = bare.scores(slices.judging_pixels)
    fit = _fit(scores, slices)
    if fit.temperature != 1.0:
        write_temperature(artefact.file, fit.temperature)
        bare = ArtefactRunner(artefact.file, info.preprocess, threads=job.threads)
        scores = bare.scores(slices.judging_pixels)
    probabilities = slices.probabilities(scores)
    # Images that the model learnt from promise nothing: without others nothing passes by itself.
    shown = 0 if slices.judged_on_training else len(probabilities)
    chosen = choose_thresholds(
        probabilities[:shown],
        slices.truth(slices.judging)[:shown],
        info.labels,
        alpha=promise.alpha,
        delta=promise.delta,
        good_mass=slices.good_mass(probabilities[:shown]),
    )
    thresholds = tighten(chosen, slices.look_scores(bare.scores), promise)
    accuracy = slices.accuracy(scores, slices.judging)
    return Tuned(artefact, bare, fit.temperature, chosen.pass_at, thresholds, accuracy, fit.why)


def figures_of(
    tuned: Tuned,
    slices: Slices,
    reference: NDArray[np.float32],
    latency: Latency,
    judged_reference: float,
    max_drop: float,
) -> ArtefactFigures:
    """Return what an artefact does.

    Args:
        reference: full precision's scores on the measuring slice, f32[N,K].
        judged_reference: its accuracy on the calibration split.
    """
    artefact, runner = tuned.artefact, tuned.runner
    scores = runner.scores(slices.measuring_pixels)
    drift = None
    if slices.drift:
        drift = slices.accuracy(runner.scores([s.pixels for s in slices.drift]), slices.drift)
    size = artefact.file.stat().st_size
    right = slices.right(scores, slices.measuring)
    error = calibration_error(slices.probabilities(scores), right)
    before = error
    if slices.output is OutputKind.LOGITS:
        before = calibration_error(slices.probabilities(scores * np.float32(tuned.temperature)), right)
    return ArtefactFigures(
        file=artefact.file.name,
        precision=artefact.precision,
        method=artefact.method,
        accuracy=slices.accuracy(scores, slices.measuring),
        drift_accuracy=drift,
        agreement_with_fp32=share_equal(scores.argmax(1), reference.argmax(1)),
        size_bytes=size,
        median_ms=latency.median_ms,
        unhindered_ms=latency.unhindered_ms,
        sha256=sha256_of(artefact.file),
        scheme=artefact.scheme,
        temperature=tuned.temperature,
        calibration_error=round(error, 5),
        thresholds=tuned.thresholds,
        excluded=artefact.excluded,
        uncalibrated_error=round(before, 5),
        judged_accuracy=tuned.judged_accuracy,
        passes=Contestant("", tuned.judged_accuracy, 0.0, size).passes(judged_reference, max_drop),
        qat_steps=artefact.qat_steps,
        calibrated_at=tuned.calibrated_at,
    )


def _fit(scores: NDArray[np.float32], slices: Slices) -> Fit:
    if slices.output is not OutputKind.LOGITS:
        return Fit(1.0)  # independent labels end in probabilities
    if slices.judged_on_training:
        return Fit(1.0, "no calibration split: a temperature fitted to training images would make the model too sure")
    return fit_temperature(scores, slices.truth(slices.judging))
