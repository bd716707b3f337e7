"""Quantize a trained run: make artefacts, give each its temperature and thresholds, measure, choose, write golden vectors.

`python -m cloud.quantize.quantize_run JOB.json` is the same in a process of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.clock import SystemClock
from cloud.gate.scorecard import Promise
from cloud.ports.clock import Clock
from cloud.quantize.artefact_figures import Artefact, figures_of, tune
from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.choice import Contestant, allowed_drop, choose_winner
from cloud.quantize.debug_report import compare_tensors
from cloud.quantize.golden import choose_golden, golden_tolerance
from cloud.quantize.int8 import prepare, save_model
from cloud.quantize.job import QuantizeJob, parse_methods, promise_of, read_job
from cloud.quantize.measure import latencies
from cloud.quantize.ranges import check_inputs, constant_tensors
from cloud.quantize.scheme import RULES, Scheme
from cloud.quantize.sensitive_nodes import COMPARED_IMAGES, exclude_nodes
from cloud.quantize.slices import Slices
from cloud.quantize.sweep import Judge, Made, sweep
from cloud.quantize.temperature import write_temperature
from cloud.retrain.dataset import reload_dataset
from cloud.retrain.progress import OnProgress, Progress, ignore_progress, print_progress, run_job
from cloud.retrain.run_folder import RunFolder, publish
from cloud.retrain.run_output import output_of
from cloud.retrain.run_records import QuantizeReport, RunInfo, SweepFigures
from contract.errors import BadModel, NotFound
from contract.preprocess import preprocess

__all__ = ["QuantizeJob", "main", "parse_methods", "quantize_run"]

# Below this, one odd image stretches every range.
_FEW_IMAGES = 10
_DEFAULT_QAT_STEPS = 200


def quantize_run(job: QuantizeJob, clock: Clock, on_progress: OnProgress = ignore_progress) -> QuantizeReport:
    """Make int8.onnx (and further artefacts), golden.npz and quantize.json in a trained run folder.

    Raises:
        NotFound: the folder holds no trained run.
        BadDataset: an image of the run is gone or has changed, or there are none to measure on.
        BadModel: no calibration gives a U8S8 model: the message says whether weights or images are at fault.
    """
    started = clock.monotonic()
    run = RunFolder(Path(job.run))
    info = run.info()
    on_progress(Progress("read images", 0, 1, ""))
    slices = Slices(reload_dataset(run.dataset(), info.labels), output_of(info))
    write_temperature(run.fp32, 1.0)
    fp32 = ArtefactRunner(run.fp32, info.preprocess, threads=job.threads)
    judge = Judge(slices, info.preprocess, job.threads, fp32.scores(slices.judging_pixels))
    warnings: list[str] = []
    artefacts = [Artefact(run.fp32, "fp32", "as trained")]
    swept: list[SweepFigures] = []
    for scheme in (Scheme.U8S8, *(each for each in job.schemes if each is not Scheme.U8S8)):
        try:
            made, figures = _Making(job, run, info, judge, clock, on_progress, warnings).make(scheme)
        except BadModel as error:
            if scheme is Scheme.U8S8:
                raise
            warnings.append(error.one_line())
            continue
        swept += figures
        rules = RULES[scheme]
        save_model(made.model, run.root / rules.file)
        artefacts.append(
            Artefact(run.root / rules.file, "int8", made.said(), scheme.value, made.excluded, made.qat_steps)
        )
    if job.fp16:
        from cloud.quantize.half import to_half

        save_model(to_half(run.fp32), run.fp16)
        artefacts.append(Artefact(run.fp16, "fp16", "cast to 16 bits"))
    return _conclude(job, run, info, judge, artefacts, swept, warnings, clock, started, on_progress)


def main(arguments: list[str] | None = None) -> int:
    """Quantize as the job file, the only argument, says."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m cloud.quantize.quantize_run JOB.json", file=sys.stderr)
        return 2
    return run_job(lambda: quantize_run(read_job(Path(given[0])), SystemClock(), print_progress))


class _Making:
    """Makes the int8 model of one scheme: the sweep; where that loses too much, some nodes in full precision; then fine-tuning."""

    def __init__(
        self,
        job: QuantizeJob,
        run: RunFolder,
        info: RunInfo,
        judge: Judge,
        clock: Clock,
        on_progress: OnProgress,
        warnings: list[str],
    ) -> None:
        self._job, self._run, self._info, self._judge = job, run, info, judge
        self._clock, self._on_progress, self._warnings = clock, on_progress, warnings
        chosen = judge.slices.calibrating(job.images, job.seed)
        self._tensors = [preprocess(sample.pixels, info.preprocess) for sample in chosen]

    def make(self, scheme: Scheme) -> tuple[Made, tuple[SweepFigures, ...]]:
        job, judge = self._job, self._judge
        check_inputs(self._tensors)
        prepared = prepare(self._run.fp32, scheme, parent=self._parents(scheme))
        made, figures = sweep(prepared, self._tensors, job.methods, judge, self._on_progress, exclude=job.exclude)
        self._warn(scheme, made)
        if self._falls_short(made) and job.search_s > 0:
            made, why = exclude_nodes(
                made, self._tensors, judge, self._allowed(), self._clock, job.search_s, self._on_progress
            )
            self._warnings += [why] if why else []
        steps = job.qat_steps
        if steps is None:
            steps = self._info.recipe.qat_steps or _DEFAULT_QAT_STEPS
        if self._falls_short(made) and steps > 0:
            # Here, as torch is heavy and hardly ever needed.
            from cloud.quantize.fine_tuning import FineTuning

            tuning = FineTuning(self._run, self._tensors, steps, job.seed, job.threads)
            made, why = tuning.carry_out(made, judge, self._on_progress)
            self._warnings += [why] if why else []
        if job.debug and scheme is Scheme.U8S8:
            report = compare_tensors(made.prepared, made.model, self._tensors[:COMPARED_IMAGES], RULES[scheme].file)
            temporary = self._run.quantize_debug.with_suffix(".tmp")
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
            publish(temporary, self._run.quantize_debug)
        return made, figures

    def _falls_short(self, made: Made) -> bool:
        reference = self._judge.reference_accuracy()
        return not Contestant("", made.accuracy, 0.0, 0).passes(reference, self._allowed())

    def _allowed(self) -> float:
        return allowed_drop(self._job.max_drop, len(self._judge.slices.judging))

    def _parents(self, scheme: Scheme) -> Path | None:
        parent = _parent_of(self._info)
        # Where every weight has moved, its old code is no use, and the step fitted to it a little worse.
        if parent is None or self._info.recipe.warm_pull <= 0:
            return None
        file = parent.root / RULES[scheme].file
        return file if file.is_file() else None

    def _warn(self, scheme: Scheme, made: Made) -> None:
        if scheme is not Scheme.U8S8:
            return
        if len(self._tensors) < _FEW_IMAGES:
            self._warnings.append(f"only {len(self._tensors)} images calibrate: one odd image stretches every range")
        still = constant_tensors(made.ranges)
        if still:
            self._warnings.append(
                f"{len(still)} tensors hold one value on every calibration image, '{still[0]}' first: dead channels, or"
                " images that hardly differ"
            )


def _conclude(
    job: QuantizeJob,
    run: RunFolder,
    info: RunInfo,
    judge: Judge,
    artefacts: list[Artefact],
    swept: list[SweepFigures],
    warnings: list[str],
    clock: Clock,
    started: float,
    on_progress: OnProgress,
) -> QuantizeReport:
    """Tune and measure the artefacts, choose the one that ships, and write golden.npz and quantize.json."""
    slices = judge.slices
    on_progress(Progress("measure", 0, 1, f"{len(artefacts)} artefacts"))
    promise = promise_of(job.alpha, job.delta, _promise_of_parent(info))
    tuned = [tune(each, info, slices, job, promise) for each in artefacts]
    warnings += [f"{tuned[0].why}"] if tuned[0].why else []
    runners = [each.runner for each in tuned]
    allowed = allowed_drop(job.max_drop, len(slices.judging))
    took = latencies(runners, slices.measuring_pixels[0], clock)
    reference = runners[0].scores(slices.measuring_pixels)
    figures = tuple(
        figures_of(each, slices, reference, latency, tuned[0].judged_accuracy, allowed)
        for each, latency in zip(tuned, took, strict=True)
    )
    contestants = [
        Contestant(
            each.file, each.judged_accuracy, each.unhindered_ms, each.size_bytes, each.scheme != Scheme.S8S8.value
        )
        for each in figures
    ]
    ships = choose_winner(contestants, contestants[0], allowed).file
    place = next(number for number, each in enumerate(figures) if each.file == ships)
    on_progress(Progress("measure", 0, 1, f"{ships} ships"))
    # On one scale: what sets an artefact apart from full precision is rounding, not how sure the two are made.
    apart = tuned[0].temperature / tuned[place].temperature
    tolerance = _write_golden(job, run, runners[place], runners[0], apart, slices)
    thresholds = figures[place].thresholds
    assert thresholds is not None  # figures_of sets them
    report = QuantizeReport(
        figures,
        ships,
        thresholds,
        tuple(swept),
        tolerance,
        round(clock.monotonic() - started, 3),
        tuple(each.file for each in figures if each.file != ships and each.passes),
        tuple(warnings),
        promise,
    )
    for file in {rules.file for rules in RULES.values()} | {run.fp16.name}:
        if file not in {each.file for each in figures}:
            (run.root / file).unlink(missing_ok=True)  # of an earlier call that was asked for more
    run.save_quantize_report(report)
    on_progress(Progress("measure", 1, 1, f"{ships} accuracy {figures[place].accuracy}"))
    return report


def _parent_of(info: RunInfo) -> RunFolder | None:
    """Return the run that this one was trained from; its files may be gone, then a run is quantized by itself."""
    return RunFolder(Path(info.parent)) if info.parent else None


def _promise_of_parent(info: RunInfo) -> Promise:
    """Return what the run that this one was trained from promises; the default for a base model, or where that run is gone."""
    parent = _parent_of(info)
    try:
        return parent.quantize_report().promise if parent is not None else Promise()
    except NotFound:
        return Promise()


def _write_golden(
    job: QuantizeJob, run: RunFolder, runner: ArtefactRunner, fp32: ArtefactRunner, apart: float, slices: Slices
) -> float:
    """Write golden.npz and return the error that a device may show. `apart`: what fp32's scores are on the artefact's scale."""
    labels = [label.name for label in run.info().labels]
    parent = _parent_of(run.info())
    golden = parent.load_golden() if parent is not None and parent.golden.is_file() else None
    pixels, scores = choose_golden(runner, slices.measuring, labels, seed=job.seed, parent=golden)
    run.save_golden(pixels, scores)
    if runner is fp32:
        return golden_tolerance(scores, None)
    reference: NDArray[np.float32] = fp32.scores(list(pixels)) * np.float32(apart)
    return golden_tolerance(scores, reference)


if __name__ == "__main__":
    sys.exit(main())
