"""How quantization's figures look: as rows of a table, and as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from cloud.quantize.debug_report import DebugReport, TensorError
from cloud.quantize.tflite_export import TfliteReport
from cloud.retrain.run_records import ArtefactFigures, QuantizeReport

COLUMNS = (
    "artefact",
    "made by",
    "accuracy",
    "drifted",
    "agreement",
    "calibration error",
    "temperature",
    "pass at",
    "size",
    "median latency",
    "passes",
)
DEBUG_COLUMNS = ("tensor", "kind", "signal to rounding", "since the input", "largest error", "largest value", "node")


def artefact_row(figures: ArtefactFigures) -> tuple[str, ...]:
    """Return an artefact as a row under COLUMNS."""
    return (
        figures.file,
        figures.method,
        _share(figures.accuracy),
        _share(figures.drift_accuracy),
        _share(figures.agreement_with_fp32),
        f"{figures.uncalibrated_error:.4f} -> {figures.calibration_error:.4f}",
        f"{figures.temperature:.3f}",
        f"{figures.thresholds.pass_at:g}" if figures.thresholds else "-",
        f"{figures.size_bytes / 1024:.0f} KiB",
        f"{figures.median_ms:.2f} ms",
        "yes" if figures.passes else "no",
    )


def tensor_row(error: TensorError) -> tuple[str, ...]:
    """Return a tensor as a row under DEBUG_COLUMNS."""
    return (
        error.tensor,
        error.kind,
        f"{error.sqnr_db:.1f} dB",
        f"{error.since_input_db:.1f} dB" if error.since_input_db is not None else "-",
        f"{error.max_error:.4g}",
        f"{error.highest:.4g}",
        ", ".join(error.nodes),
    )


def quantize_json(
    run: str, report: QuantizeReport, debug: DebugReport | None, tflite: TfliteReport | None = None
) -> dict[str, Any]:
    """Return the report as a script reads it; `artefacts` by scheme, or by precision where there is none.

    "int8" names the U8S8 artefact, "int8.tflite" the TFLite one, whose report is under "tflite".
    """
    shown: dict[str, Any] = {
        "run": run,
        "ships": report.ships,
        "also": list(report.also),
        "warnings": list(report.warnings),
        "artefacts": {_name(each): msgspec.to_builtins(each) for each in report.artefacts},
        "sweep": msgspec.to_builtins(report.sweep),
        "thresholds": msgspec.to_builtins(report.thresholds),
        "seconds": report.seconds,
    }
    if tflite is not None:
        shown["artefacts"][tflite.artefact.file] = msgspec.to_builtins(tflite.artefact)
        shown["tflite"] = msgspec.to_builtins(tflite)
    return shown if debug is None else {**shown, "debug": msgspec.to_builtins(debug)}


def _name(figures: ArtefactFigures) -> str:
    return "int8" if figures.scheme == "u8s8" else figures.scheme or figures.precision


def _share(value: float | None) -> str:
    return f"{value:.4f}" if value is not None else "-"
