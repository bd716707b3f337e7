"""A gate report with everything in it, for tests of its page; labels may be called anything."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloud.gate.checks import gate
from cloud.gate.corruptions import SEVERITIES, Corruption
from cloud.gate.scorecard import (
    ClassFigures,
    ConfusionCell,
    CorruptionFigures,
    GateReport,
    GateRules,
    Incumbent,
    LookFigures,
    PairedFigures,
    PairedSlice,
    ReliabilityBin,
    Scorecard,
    ScoreCell,
    ShortcutFigures,
    SliceFigures,
)
from cloud.quantize.report_page import Mistake, report_page
from cloud.retrain.run_records import ArtefactFigures, QuantizeReport, Recipe, RunFigures, RunInfo
from contract.manifest import Label, LabelKind, Thresholds
from contract.preprocess import PreprocessSpec


def card(labels: Sequence[str], seed: int = 0) -> Scorecard:
    """Return a scorecard of 40 images a label, of which one is named as the next label."""
    each, every = 40, 40 * len(labels)
    lost = 1 if len(labels) > 1 else 0
    return Scorecard(
        artefact="/runs/next/int8.onnx",
        base=SliceFigures(every, every - lost * len(labels)),
        drift=SliceFigures(18, 17),
        classes=tuple(ClassFigures(name, each, each - lost) for name in labels),
        corruptions=tuple(
            CorruptionFigures(kind.value, severity, 16, (15 - severity * place // 5 + seed) % 17)
            for place, kind in enumerate(Corruption)
            for severity in SEVERITIES
        ),
        passed=30,
        missed_defects=0,
        calibration_error=0.031,
        golden_error=0.0,
        golden_tolerance=0.1,
        fp32_correct=every - lost * len(labels),
        fp32_agrees=every - 2,
        median_ms=0.61,
        size_bytes=120_000,
        automatic=every - 12,
        confusion=tuple(
            cell
            for place, name in enumerate(labels)
            for cell in (
                ConfusionCell(name, name, each - lost),
                *([ConfusionCell(name, labels[(place + 1) % len(labels)], lost)] if lost else []),
            )
        ),
        reliability=(
            ReliabilityBin(6, 0.55, 3),
            ReliabilityBin(20, 0.84, 17),
            ReliabilityBin(every - 26, 0.97, every - 28),
        ),
        score_cells=(ScoreCell(99, 98, every - 20), ScoreCell(71, 52, 4), ScoreCell(64, 66, 16)),
        shortcut=ShortcutFigures("top left", labels[0], 60, 3, 1, 8, 180),
    )


def report(
    labels: Sequence[str],
    *,
    incumbent: bool = True,
    rules: GateRules | None = None,
    looks: tuple[LookFigures, ...] = (),
) -> GateReport:
    """Return the gate's report on `card`."""
    rules = rules or GateRules()
    ours = msgspec.structs.replace(card(labels), looks=looks)
    if not incumbent:
        return gate(ours, None, rules)
    images = 40 * len(labels)
    theirs = Incumbent(
        msgspec.structs.replace(card(labels, 1), drift=SliceFigures(18, 11)),
        PairedFigures(images, 1, 1),
        PairedFigures(18, 6, 0),
        tuple(PairedSlice(name, PairedFigures(40, 1, 0)) for name in labels),
        tuple(PairedSlice(kind.value, PairedFigures(80, 3, 4)) for kind in Corruption),
    )
    return gate(ours, theirs, rules)


def page(labels: Sequence[str], name: str = "next", **more: object) -> str:
    """Return the page of `report`."""
    own = Thresholds(0.91, 0.5, "Learn-then-Test on 90 images")
    recipe = Recipe()
    info = RunInfo(
        recipe,
        0,
        tuple(Label(label, LabelKind.DEFECT if place else LabelKind.GOOD) for place, label in enumerate(labels)),
        PreprocessSpec(64, 64, 1, (0.5,), (0.2,)),
        "/runs/base",
        "d" * 64,
        "plumbline-edge 0.1.0",
        RunFigures(12.0, 90, 100_000, "cpu", 1, 400, 20, 0.99, 0.98, 0.97, 0.94),
        (f"only 3 images of {labels[0]}",),
    )
    quantized = QuantizeReport(
        (
            ArtefactFigures("fp32.onnx", "fp32", "as trained", 0.97, 0.94, 1.0, 400_000, 0.9),
            ArtefactFigures("int8.onnx", "int8", "entropy", 0.97, 0.94, 0.99, 120_000, 0.6, "u8s8", 1.2, 0.02, own),
        ),
        "int8.onnx",
        own,
        (),
        0.1,
        3.0,
    )
    mistakes = (Mistake("0123456789abcdef", labels[0], labels[-1], 0.981),)
    return report_page(name, report(labels, **more), info, quantized, mistakes)  # type: ignore[arg-type]
