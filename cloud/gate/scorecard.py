"""What the gate looks at, and what it says: figures of artefacts on slices, and a report of named checks."""

from __future__ import annotations

import msgspec


class SliceFigures(msgspec.Struct, frozen=True):
    """An artefact on one slice of images."""

    images: int
    correct: int

    @property
    def accuracy(self) -> float:
        """The share named right; 0 when there are no images."""
        return self.correct / self.images if self.images else 0.0


class PairedFigures(msgspec.Struct, frozen=True):
    """Candidate and incumbent on the same images: how many only one of them names right."""

    images: int
    only_candidate: int
    only_incumbent: int


class ClassFigures(msgspec.Struct, frozen=True):
    """How many images of a label the artefact names so."""

    label: str
    images: int
    recalled: int


class CorruptionFigures(msgspec.Struct, frozen=True):
    """An artefact under one kind of corruption; `severity` 1 is mild, 5 severe."""

    kind: str
    severity: int
    images: int
    correct: int


class Scorecard(msgspec.Struct, frozen=True):
    """Everything measured of one artefact.

    `drift` is None without reviewed images. `passed` and `missed_defects` count automatic PASSes on the base holdout, and
    defects among them. `calibration_error` is the expected calibration error, 0..1. `golden_error` is the largest difference
    from the golden scores, None without any. `fp32_correct` and `fp32_agrees`, on the base holdout, are of the full-precision
    model that the artefact came from; None when it is that model.
    """

    artefact: str
    base: SliceFigures
    drift: SliceFigures | None
    classes: tuple[ClassFigures, ...]
    corruptions: tuple[CorruptionFigures, ...]
    passed: int
    missed_defects: int
    calibration_error: float
    golden_error: float | None
    golden_tolerance: float
    fp32_correct: int | None
    fp32_agrees: int | None
    median_ms: float
    size_bytes: int


class Incumbent(msgspec.Struct, frozen=True):
    """The artefact in charge, on the candidate's images, and image by image against it."""

    card: Scorecard
    base: PairedFigures
    drift: PairedFigures | None


class GateRules(msgspec.Struct, frozen=True):
    """What a candidate must show. Shares are 0..1; bounds hold with `confidence`.

    `margin`: how much worse than the incumbent it might be on the base holdout. `drift_level`: how unlikely its lead on the
    drifted slice may be by chance. `min_recall` is wanted of every label as measured, `min_recall_bound` of the lower bound.
    `max_corruption_loss`: how much mean accuracy under corruptions may be lost.
    """

    confidence: float = 0.95
    margin: float = 0.04
    drift_level: float = 0.05
    min_accuracy: float = 0.8
    min_recall: float = 0.75
    min_recall_bound: float = 0.5
    max_missed_defects: float = 0.02
    min_agreement: float = 0.97
    max_int8_drop: float = 0.005
    max_corruption_loss: float = 0.1
    max_calibration_error: float = 0.15
    max_latency_ratio: float = 1.5
    latency_slack_ms: float = 0.5


class GateCheck(msgspec.Struct, frozen=True):
    """One check: whether it held, its figures, and a sentence for a person."""

    name: str
    passed: bool
    sentence: str
    figures: dict[str, float] = {}


class GateReport(msgspec.Struct, frozen=True):
    """The gate's answer. `passed` is true when every check held."""

    candidate: str
    incumbent: str
    checks: tuple[GateCheck, ...]
    passed: bool
    rules: GateRules
    card: Scorecard
    incumbent_card: Scorecard | None = None

    def failures(self) -> tuple[GateCheck, ...]:
        """Return the checks that did not hold."""
        return tuple(check for check in self.checks if not check.passed)
