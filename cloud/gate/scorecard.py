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


class PairedSlice(msgspec.Struct, frozen=True):
    """Candidate and incumbent on the images of one label, or under one kind of corruption, which `name` is."""

    name: str
    pairs: PairedFigures


class CorruptionFigures(msgspec.Struct, frozen=True):
    """An artefact under one kind of corruption; `severity` 1 is mild, 5 severe."""

    kind: str
    severity: int
    images: int
    correct: int


class ConfusionCell(msgspec.Struct, frozen=True):
    """How many holdout images of label `truth` are named `named`; cells without any are left out."""

    truth: str
    named: str
    images: int


class ReliabilityBin(msgspec.Struct, frozen=True):
    """Holdout images whose confidence lies in one bin: how many, their mean confidence, and how many are named right."""

    images: int
    confidence: float
    correct: int


class ScoreCell(msgspec.Struct, frozen=True):
    """Holdout images to which full precision gives `fp32` percent for the label it names, and the artefact `shipped` percent."""

    fp32: int
    shipped: int
    images: int


class ShortcutFigures(msgspec.Struct, frozen=True):
    """What pasting a part of another image does (cloud.gate.shortcut).

    `region` and `label`: where, and of which label's images, a pasted part seemed to make the candidate name that label most.
    `images`: other pairs on which that was tried again; `followed`: those on which it did. `elsewhere`: of `elsewhere_images`
    like pastes in the places that mirror the region. `incumbent_followed`: the incumbent on the same pairs, None without one.
    """

    region: str
    label: str
    images: int
    followed: int
    incumbent_followed: int | None = None
    elsewhere: int = 0
    elsewhere_images: int = 0


class BoardFigures(msgspec.Struct, frozen=True):
    """The artefact as measured on a class of boards. `source` says where that was written down, e.g. a file of `bench`."""

    board: str
    median_ms: float | None = None
    memory_mib: float | None = None
    source: str = ""


class BoardBudget(msgspec.Struct, frozen=True):
    """What an inference may take on a class of boards; None for no limit."""

    board: str
    latency_ms: float | None = None
    memory_mib: float | None = None


class Promise(msgspec.Struct, frozen=True):
    """What thresholds promise: among automatic PASSes at most a share `alpha` of defects, with confidence 1 - `delta`."""

    alpha: float = 0.02
    delta: float = 0.1

    @property
    def confidence(self) -> float:
        """How sure the promise is, 0..1."""
        return 1 - self.delta

    def words(self) -> str:
        """Return it for a person."""
        return f"missed defects among automatic PASS <= {self.alpha:g} with confidence {self.confidence:g}"


class LookFigures(msgspec.Struct, frozen=True):
    """An artefact at its thresholds on parts that people labelled after an alarm and that it never learnt from.

    `parts`, of them `defects`; `passed` by themselves, and `missed`, the defects among those. `tightened`: whether these parts, or
    other reviewed ones, moved the threshold, which then was not fixed before they were seen. `newest`: labelled for this retrain;
    else for one of those before it. `further`: labelled after the model was made, counted without those that moved the threshold.
    """

    parts: int
    defects: int
    passed: int
    missed: int
    tightened: bool = False
    newest: bool = True
    further: bool = False


class Scorecard(msgspec.Struct, frozen=True):
    """Everything measured of one artefact.

    `drift` is None without reviewed images. `passed` and `missed_defects` count automatic PASSes on the base holdout, and
    defects among them. `calibration_error` is the expected calibration error, 0..1. `golden_error` is the largest difference
    from the golden scores, None without any. `fp32_correct` and `fp32_agrees`, on the base holdout, are of the full-precision
    model that the artefact came from; None when it is that model.

    `automatic`: holdout images decided without a person, PASS or REJECT. What was not measured by the version that wrote the
    card is None or empty. `promise`: of its thresholds. `looks`: the drifted slice, the newest look of the parts first.
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
    automatic: int | None = None
    confusion: tuple[ConfusionCell, ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()
    score_cells: tuple[ScoreCell, ...] = ()
    shortcut: ShortcutFigures | None = None
    boards: tuple[BoardFigures, ...] = ()
    promise: Promise = Promise()
    looks: tuple[LookFigures, ...] = ()


class Incumbent(msgspec.Struct, frozen=True):
    """The artefact in charge, on the candidate's images, and image by image against it, also by label and by corruption."""

    card: Scorecard
    base: PairedFigures
    drift: PairedFigures | None
    classes: tuple[PairedSlice, ...] = ()
    corruptions: tuple[PairedSlice, ...] = ()


class GateRules(msgspec.Struct, frozen=True):
    """What a candidate must show. Shares are 0..1; bounds hold with `confidence`.

    `margin`: how much worse than the incumbent it might be on the base holdout. `drift_level`: how unlikely its lead on the
    drifted slice may be by chance. `min_recall` is wanted of every label as measured, `min_recall_bound` of the lower bound.
    `max_missed_defects`: None for what the thresholds promise. `max_corruption_loss`: how much mean accuracy under corruptions may
    be lost; `max_kind_loss`: under one kind; `max_recall_loss`: of one label's recall. `slice_level`: how unlikely by chance
    a loss must be to count against it, all labels, or all kinds, together. `min_automatic`: the share to decide without a person;
    `max_automatic_loss`: how much less of it than the incumbent's. `max_followed`: how often a pasted part of another image may
    change the answer to that image's label, without an incumbent; `max_followed_more`: beside one, where neither it nor another
    place is followed so often. `recovery_confidence`: of the bound that says whether the drifted slice may be as good as the base
    holdout was. `agreement_confidence`: how sure a lack of agreement with full precision must be. `boards`: budgets to hold.
    """

    confidence: float = 0.95
    margin: float = 0.04
    drift_level: float = 0.05
    min_accuracy: float = 0.8
    min_recall: float = 0.75
    min_recall_bound: float = 0.5
    max_missed_defects: float | None = None
    min_agreement: float = 0.97
    max_int8_drop: float = 0.005
    max_corruption_loss: float = 0.1
    max_calibration_error: float = 0.15
    max_latency_ratio: float = 1.5
    latency_slack_ms: float = 0.5
    agreement_confidence: float = 0.8
    max_kind_loss: float = 0.25
    max_recall_loss: float = 0.05
    slice_level: float = 0.02
    min_automatic: float = 0.02
    max_automatic_loss: float = 0.2
    max_followed: float = 0.4
    max_followed_more: float = 0.08
    recovery_confidence: float = 0.8
    boards: tuple[BoardBudget, ...] = ()


class GateCheck(msgspec.Struct, frozen=True):
    """One check: whether it held, its figures, and a sentence for a person."""

    name: str
    passed: bool
    sentence: str
    figures: dict[str, float] = {}


class GateReport(msgspec.Struct, frozen=True):
    """The gate's answer. `passed` is true when every check held.

    `judged`: SHA-256 by name of the files that it is about; empty in reports from before they were noted. `labelled`: SHA-256 of
    the labels.jsonl whose parts were judged beside those set aside, "" without.
    """

    candidate: str
    incumbent: str
    checks: tuple[GateCheck, ...]
    passed: bool
    rules: GateRules
    card: Scorecard
    incumbent_card: Scorecard | None = None
    judged: dict[str, str] = {}
    labelled: str = ""

    def failures(self) -> tuple[GateCheck, ...]:
        """Return the checks that did not hold."""
        return tuple(check for check in self.checks if not check.passed)
