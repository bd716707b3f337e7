"""A trained run's int8 TFLite artefact, by onnx2tf in an environment of its own, checked against the full-precision model.

`python -m cloud.quantize.tflite_export JOB.json` is the same in a process of its own. In the run folder it leaves int8.tflite,
tflite.json with its figures and thresholds, and tflite_golden.npz: the pixels of golden.npz with this artefact's scores.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.utils import Extractor

from cloud.clock import SystemClock
from cloud.ports.clock import Clock
from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.calibration import stratified
from cloud.quantize.golden import golden_tolerance
from cloud.quantize.job import promise_of
from cloud.quantize.measure import share_equal
from cloud.quantize.new_look import tighten
from cloud.quantize.slices import Slices
from cloud.quantize.temperature import error_at, load_model, temperature_of
from cloud.quantize.tflite_runner import TfliteRunner, channels_last
from cloud.quantize.thresholds import choose_thresholds
from cloud.registry.blobs import sha256_of
from cloud.retrain.dataset import Dataset, Sample, reload_dataset
from cloud.retrain.job import write_job
from cloud.retrain.progress import OnProgress, Progress, ignore_progress, print_progress, run_job
from cloud.retrain.run_folder import RunFolder, publish
from cloud.retrain.run_records import ArtefactFigures, Head, Split
from contract.decode import softmax
from contract.errors import BadModel, InvalidConfig, TransientError
from contract.manifest import OutputKind, Thresholds
from contract.preprocess import preprocess

TFLITE_NAME = "int8.tflite"
TFLITE_REPORT_NAME = "tflite.json"
TFLITE_GOLDEN_NAME = "tflite_golden.npz"
SETUP_COMMAND = "./scripts/setup tflite-export"
_PYTHON = Path(__file__).resolve().parents[2] / ".venv-tflite" / "bin" / "python"
_CHILD = Path(__file__).with_name("tflite_child.py")
_LEAST_AGREEMENT = 0.97
_TIMEOUT_S = 1800.0
_Read = TypeVar("_Read", bound=msgspec.Struct)


class TfliteJob(msgspec.Struct, frozen=True):
    """What to export. `images`: how many training images calibrate. `alpha`, `delta`: the promise, None for that of the run's
    other artefacts. `python`: the interpreter of the environment that has onnx2tf, "" for the one that setup makes."""

    run: str
    images: int = 96
    alpha: float | None = None
    delta: float | None = None
    seed: int = 0
    threads: int = 2
    python: str = ""


class TfliteReport(msgspec.Struct, frozen=True):
    """What came of it. `agreement`: share of golden and calibration images that the artefact and fp32.onnx give the same label.
    `golden_max_abs_error` belongs to tflite_golden.npz. `images`: of the holdout, which accuracies are of; `made_of`,
    `made`: SHA-256 of fp32.onnx and of int8.tflite."""

    artefact: ArtefactFigures
    fp32_accuracy: float
    agreement: float
    thresholds: Thresholds
    golden_max_abs_error: float
    seconds: float
    images: int = 0
    made_of: str = ""
    made: str = ""


def export_tflite(job: TfliteJob, clock: Clock, on_progress: OnProgress = ignore_progress) -> TfliteReport:
    """Make and measure the run's int8.tflite.

    Raises:
        InvalidConfig: the environment with onnx2tf is not there, or the head is not one label an image.
        NotFound: the folder holds no quantized run.
        BadDataset: an image of the run is gone or has changed.
        BadModel: onnx2tf refuses the model, or less than 97 % of the answers are fp32.onnx's.
        TransientError: the conversion was killed, or took longer than half an hour.
    """
    started = clock.monotonic()
    python = check_tflite_job(job)
    run = RunFolder(Path(job.run))
    info = run.info()
    pixels, _ = run.load_golden()
    on_progress(Progress("read images", 0, 1, ""))
    dataset = reload_dataset(run.dataset(), info.labels)
    train = dataset.of_split(Split.TRAIN)
    judging = dataset.of_split(Split.CALIBRATION) or train
    measuring = dataset.of_split(Split.HOLDOUT) or judging
    spec = channels_last(info.preprocess)
    tensors = [preprocess(s.pixels, spec) for s in stratified(train, job.images, job.seed)]
    on_progress(Progress("convert", 0, 1, f"onnx2tf, {len(tensors)} images calibrate"))
    temporary = run.root / "int8.tmp.tflite"
    convert(run.fp32, np.concatenate(tensors), temporary, python)
    on_progress(Progress("measure", 0, 1, TFLITE_NAME))
    fp32, tflite = ArtefactRunner(run.fp32, info.preprocess, threads=job.threads), TfliteRunner(temporary, spec)
    agreement = _check_parity(fp32, tflite, [*pixels, *(s.pixels for s in judging)])
    publish(temporary, run.root / TFLITE_NAME)
    tflite = TfliteRunner(run.root / TFLITE_NAME, spec)
    golden = tflite.scores(list(pixels))
    partial = run.root / "tflite_golden.tmp.npz"
    np.savez_compressed(partial, pixels=pixels, scores=golden)
    publish(partial, run.root / TFLITE_GOLDEN_NAME)
    # As for the ONNX artefacts: images that the model learnt from promise nothing.
    held = dataset.of_split(Split.CALIBRATION)
    promise = promise_of(job.alpha, job.delta, run.quantize_report().promise)
    chosen = choose_thresholds(
        softmax(tflite.scores([s.pixels for s in held])) if held else np.zeros((0, len(info.labels)), np.float32),
        _truth(held, dataset),
        info.labels,
        alpha=promise.alpha,
        delta=promise.delta,
    )
    thresholds = tighten(chosen, Slices(dataset, OutputKind.LOGITS).look_scores(tflite.scores), promise)
    reference = fp32.scores([s.pixels for s in measuring])
    report = TfliteReport(
        artefact=_figures(
            tflite, dataset, measuring, reference, thresholds, temperature_of(load_model(run.fp32)), clock
        ),
        fp32_accuracy=share_equal(reference.argmax(1), _truth(measuring, dataset)),
        agreement=agreement,
        thresholds=thresholds,
        golden_max_abs_error=golden_tolerance(golden, fp32.scores(list(pixels))),
        seconds=round(clock.monotonic() - started, 3),
        images=len(measuring),
        made_of=sha256_of(run.fp32),
        made=sha256_of(tflite.file),
    )
    write_job(report, run.root / TFLITE_REPORT_NAME)
    on_progress(Progress("measure", 1, 1, f"accuracy {report.artefact.accuracy}, agreement {agreement:.3f}"))
    return report


def check_tflite_job(job: TfliteJob) -> Path:
    """Return the interpreter that has onnx2tf, after what can be known before anything is computed.

    Raises:
        InvalidConfig: it is not there, or the head is not one label an image.
        NotFound: the folder holds no trained run.
    """
    python = Path(job.python) if job.python else _PYTHON
    if not python.exists():
        raise InvalidConfig(f"TFLite export needs {python}, which is not there", hint=f"run '{SETUP_COMMAND}' (2 GB)")
    if RunFolder(Path(job.run)).info().recipe.head is Head.MULTI:
        raise InvalidConfig("TFLite export knows one label an image", hint="ship the ONNX artefact of this run")
    return python


def load_tflite_report(run: RunFolder) -> TfliteReport:
    """Return what `export_tflite` found. Raises: InvalidConfig when it was not run here, or its file is damaged."""
    return _read(run.root / TFLITE_REPORT_NAME, TfliteReport, "run 'plumbline-cloud quantize RUN --tflite'")


def convert(onnx_file: Path, tensors: NDArray[np.float32], file: Path, python: Path) -> None:
    """Write `onnx_file` as an int8 TFLite model with float32 input and output.

    Args:
        tensors: f32[N,h,w,C], preprocessed images that calibrate.
        python: the interpreter that has onnx2tf.
    Raises:
        BadModel: onnx2tf refuses the model.
        TransientError: it was killed, or took longer than half an hour.
    """
    with tempfile.TemporaryDirectory(prefix="plumbline-") as name:
        scratch = Path(name)
        input_name = _write_scores_only(onnx_file, scratch / "model.onnx")
        np.save(scratch / "calibration.npy", tensors)
        # onnx2tf calls its tools by name.
        path = f"{python.parent}{os.pathsep}{os.defpath}"
        settings = ["CUDA_VISIBLE_DEVICES=", "TF_CPP_MIN_LOG_LEVEL=3", f"PATH={path}"]
        command = ["env", *settings, str(python), "-I", str(_CHILD), "model.onnx", input_name, "calibration.npy", "out"]
        try:
            # The folder is the child's own: onnx2tf leaves files where it stands.
            done = subprocess.run(
                command,
                cwd=scratch,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TransientError(f"onnx2tf took longer than {_TIMEOUT_S:.0f} s", hint="run it again") from error
        made = scratch / "out" / "model_integer_quant.tflite"
        if done.returncode < 0:
            raise TransientError("onnx2tf was killed", hint="it needs 2 GB of memory; run it again")
        if done.returncode != 0 or not made.exists():
            last = " | ".join(line.strip() for line in done.stdout.splitlines()[-5:] if line.strip())
            raise BadModel(f"onnx2tf cannot convert {onnx_file.name}: {last[-500:]}", hint="ship the ONNX artefact")
        shutil.copyfile(made, file)


def main(arguments: list[str] | None = None) -> int:
    """Export as the job file, the only argument, says."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m cloud.quantize.tflite_export JOB.json", file=sys.stderr)
        return 2
    hint = "use 'plumbline-cloud quantize RUN --tflite'"
    return run_job(lambda: export_tflite(_read(Path(given[0]), TfliteJob, hint), SystemClock(), print_progress))


def _read(file: Path, kind: type[_Read], hint: str) -> _Read:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidConfig(f"{file} is no {kind.__name__}: {error}", hint=hint) from error


def _write_scores_only(onnx_file: Path, file: Path) -> str:
    """Write the model without its further outputs, whose order onnx2tf does not promise; return its input's name."""
    model = onnx.load(str(onnx_file))
    name = str(model.graph.input[0].name)
    if len(model.graph.output) > 1:
        model = Extractor(model).extract_model([name], [model.graph.output[0].name])
    onnx.save(model, str(file))
    return name


def _check_parity(fp32: ArtefactRunner, tflite: TfliteRunner, images: Sequence[NDArray[np.uint8]]) -> float:
    agreement = share_equal(tflite.scores(images).argmax(1), fp32.scores(images).argmax(1))
    if agreement < _LEAST_AGREEMENT:
        raise BadModel(
            f"{TFLITE_NAME} gives {agreement:.1%} of {len(images)} images the label that {fp32.file.name} gives them",
            hint=f"at least {_LEAST_AGREEMENT:.0%} are wanted: calibrate with more images, or train longer",
        )
    return agreement


def _figures(
    tflite: TfliteRunner,
    dataset: Dataset,
    measuring: list[Sample],
    reference: NDArray[np.float32],
    thresholds: Thresholds,
    temperature: float,
    clock: Clock,
) -> ArtefactFigures:
    """Return what the artefact does. `temperature`: of the full-precision model, which the conversion takes along."""
    scores = tflite.scores([s.pixels for s in measuring])
    right = scores.argmax(1) == _truth(measuring, dataset)
    drift = dataset.of_split(Split.DRIFT)
    return ArtefactFigures(
        file=tflite.file.name,
        precision="int8",
        method="onnx2tf",
        accuracy=float(right.mean()),
        temperature=round(temperature, 4),
        calibration_error=round(error_at(scores, right, 1.0), 5),
        uncalibrated_error=round(error_at(scores, right, 1 / temperature), 5),
        drift_accuracy=share_equal(tflite.scores([s.pixels for s in drift]).argmax(1), _truth(drift, dataset))
        if drift
        else None,
        agreement_with_fp32=share_equal(scores.argmax(1), reference.argmax(1)),
        size_bytes=tflite.file.stat().st_size,
        median_ms=tflite.median_latency_ms(measuring[0].pixels, clock),
        thresholds=thresholds,
    )


def _truth(samples: Sequence[Sample], dataset: Dataset) -> NDArray[np.int64]:
    index_of = dataset.index_of()
    return np.array([index_of[s.entry.label] for s in samples], np.int64)


if __name__ == "__main__":
    sys.exit(main())
