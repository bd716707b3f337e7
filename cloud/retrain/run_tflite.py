"""A run's TFLite artefact as what a bundle of its own carries: its layout is another than the ONNX artefacts'."""

from __future__ import annotations

import msgspec

from cloud.gate.artefact_checks import accuracy, full_precision
from cloud.gate.scorecard import GateReport, SliceFigures
from cloud.quantize.tflite_export import TFLITE_GOLDEN_NAME, TfliteReport, load_tflite_report
from cloud.registry.blobs import sha256_of
from cloud.retrain.run_folder import RunFolder
from contract.errors import InvalidConfig, RefusedError
from contract.manifest import Artefact, Golden, OutputKind, RuntimeKind

_AGAIN = "run 'plumbline-cloud quantize RUN --tflite' again"


def tflite_artefact(run: RunFolder) -> tuple[Artefact, Golden, TfliteReport]:
    """Return the artefact, its golden vectors, and what its export found.

    Raises:
        InvalidConfig: the run has none, or its files, or the model that it was made of, are others by now.
    """
    report = load_tflite_report(run)
    file = run.root / report.artefact.file
    if not file.is_file() or sha256_of(file) != report.made or sha256_of(run.fp32) != report.made_of:
        raise InvalidConfig(
            f"{file} is not there, or is not what was made of {run.fp32.name} as it is now", hint=_AGAIN
        )
    artefact = Artefact(file.name, RuntimeKind.TFLITE, report.artefact.precision, OutputKind.LOGITS)
    return artefact, Golden(TFLITE_GOLDEN_NAME, report.golden_max_abs_error), report


def check_tflite(report: TfliteReport, gate: GateReport) -> None:
    """Hold the gate's rules for an artefact against the TFLite one: accurate enough, and of one mind with full precision.

    What the gate found of the ONNX artefact, such as what it looks at, holds for one that answers as full precision does.

    Raises:
        RefusedError: it does not hold.
    """
    figures = report.artefact
    card = msgspec.structs.replace(
        gate.card,
        base=SliceFigures(report.images, round((figures.accuracy or 0.0) * report.images)),
        fp32_correct=round(report.fp32_accuracy * report.images),
        fp32_agrees=round(figures.agreement_with_fp32 * report.images),
    )
    failed = [c for c in (accuracy(card, gate.rules), *full_precision(card, gate.rules)) if not c.passed]
    if failed:
        raise RefusedError(
            f"{figures.file} fails the gate's rules: {'; '.join(f'{c.name}: {c.sentence}' for c in failed)}",
            hint="calibrate it with more images, or release the ONNX artefact",
        )
