"""Everything the gate looks at, measured of one artefact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.gate.calibration import calibration_error, reliability
from cloud.gate.scorecard import (
    ClassFigures,
    ConfusionCell,
    LookFigures,
    PairedFigures,
    PairedSlice,
    Scorecard,
    ScoreCell,
    SliceFigures,
)
from cloud.ports.clock import Clock
from cloud.quantize.contender import labels_of
from cloud.quantize.judge import Judge
from cloud.quantize.measure import median_latency_ms
from cloud.quantize.new_look import Look
from cloud.retrain.dataset import Sample

_MAX_CELLS = 500


@dataclass(frozen=True, slots=True)
class Measured:
    """An artefact's card, and what it is compared by, image by image: bool[N] each. `found` by label, of images that have it."""

    card: Scorecard
    probabilities: NDArray[np.float32]
    base_right: NDArray[np.bool_]
    drift_right: NDArray[np.bool_]
    found: dict[str, NDArray[np.bool_]]


def measure_card(
    judge: Judge, base: Sequence[Sample], drift: Sequence[Sample], clock: Clock, looks: Sequence[Look] = ()
) -> Measured:
    """Return the figures of one artefact on the holdout and the drifted slice; corruptions and shortcuts are not among them.

    Args:
        looks: the drifted slice again, by when it was labelled.
    Raises:
        BadModel: the artefact breaks.
    """
    contender = judge.contender
    pixels = [s.pixels for s in base]
    probabilities = judge.probabilities(pixels)
    right = contender.right(probabilities, base)
    drift_right = judge.right([s.pixels for s in drift], drift) if drift else np.zeros(0, np.bool_)
    passed, rejected = contender.decisions(probabilities)
    found = _found(judge, probabilities, base)
    bins = reliability(probabilities.max(1), right)
    fp32_correct = fp32_agrees = None
    cells: tuple[ScoreCell, ...] = ()
    if judge.full is not None:
        full = contender.probabilities(judge.full.scores(pixels))
        fp32_correct = int(contender.right(full, base).sum())
        fp32_agrees = int((full.argmax(1) == probabilities.argmax(1)).sum())
        cells = _score_cells(full, probabilities)
    card = Scorecard(
        artefact=str(contender.file),
        base=SliceFigures(len(right), int(right.sum())),
        drift=SliceFigures(len(drift_right), int(drift_right.sum())) if drift else None,
        classes=tuple(ClassFigures(name, len(each), int(each.sum())) for name, each in found.items()),
        corruptions=(),
        passed=int(passed.sum()),
        missed_defects=int((passed & contender.shows_defect(base)).sum()),
        calibration_error=calibration_error(bins),
        golden_error=_golden_error(judge),
        golden_tolerance=contender.golden_tolerance,
        fp32_correct=fp32_correct,
        fp32_agrees=fp32_agrees,
        median_ms=median_latency_ms(judge.runner, pixels[0], clock),
        size_bytes=contender.file.stat().st_size,
        automatic=int((passed | rejected).sum()),
        confusion=_confusion(contender.named(probabilities), base),
        reliability=bins,
        score_cells=cells,
        promise=contender.promise,
        looks=tuple(_look(judge, look) for look in looks),
    )
    return Measured(card, probabilities, right, drift_right, found)


def pair(candidate: NDArray[np.bool_], incumbent: NDArray[np.bool_]) -> PairedFigures:
    """Return how many of the same images only one of them gets right, from bool[N] each."""
    return PairedFigures(len(candidate), int((candidate & ~incumbent).sum()), int((incumbent & ~candidate).sum()))


def pair_labels(candidate: Measured, incumbent: Measured) -> tuple[PairedSlice, ...]:
    """Return the pairs label by label, of labels that both know and that are held back."""
    return tuple(
        PairedSlice(name, pair(found, incumbent.found[name]))
        for name, found in candidate.found.items()
        if name in incumbent.found and len(found)
    )


def _look(judge: Judge, look: Look) -> LookFigures:
    contender, samples = judge.contender, look.samples
    if not samples:
        return LookFigures(0, 0, 0, 0, newest=look.newest)
    passed, _ = contender.decisions(judge.probabilities([s.pixels for s in samples]))
    defect = contender.shows_defect(samples)
    return LookFigures(
        parts=len(samples),
        defects=int(defect.sum()),
        passed=int(passed.sum()),
        missed=int((passed & defect).sum()),
        tightened=contender.tightened and not look.further,
        newest=look.newest,
        further=look.further,
    )


def _found(judge: Judge, probabilities: NDArray[np.float32], base: Sequence[Sample]) -> dict[str, NDArray[np.bool_]]:
    """Return, by label, which of the images that have it show it; a label without images has none."""
    found = {}
    for place, label in enumerate(judge.contender.labels):
        has = np.array([label.name in labels_of(sample) for sample in base], np.bool_)
        found[label.name] = judge.contender.finds(probabilities, place)[has]
    return found


def _confusion(named: Sequence[str], base: Sequence[Sample]) -> tuple[ConfusionCell, ...]:
    counts = Counter(
        (name if name in labels_of(sample) else sample.entry.label, name)
        for name, sample in zip(named, base, strict=True)
    )
    return tuple(ConfusionCell(truth, name, images) for (truth, name), images in sorted(counts.items()))


def _score_cells(full: NDArray[np.float32], shipped: NDArray[np.float32]) -> tuple[ScoreCell, ...]:
    """Return, in percent, what both give the label that full precision names; the fullest cells if there are too many."""
    leads = full.argmax(1)[:, None]
    percent = [np.rint(100 * np.take_along_axis(each, leads, 1)[:, 0]).astype(int).tolist() for each in (full, shipped)]
    counts = Counter(zip(*percent, strict=True)).most_common(_MAX_CELLS)
    return tuple(ScoreCell(first, second, images) for (first, second), images in sorted(counts))


def _golden_error(judge: Judge) -> float | None:
    if judge.contender.golden is None:
        return None
    pixels, scores = judge.contender.golden
    return float(np.abs(judge.runner.scores(list(pixels)) - scores).max())
