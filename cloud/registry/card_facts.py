"""What a model card is written from: figures that training, quantization and the gate measured, or None."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cloud.gate.scorecard import GateReport
from contract.manifest import Artefact, Compatibility, Label, Lineage, Thresholds
from contract.preprocess import PreprocessSpec


@dataclass(frozen=True, slots=True)
class ArtefactNote:
    """One model file as it was measured where it was made; None for what was not.

    `scheme`: as contract.manifest.Artefact. `temperature`: what its scores were divided by. `thresholds`: its own, if it has
    any. `excluded`: how many nodes were left in full precision.
    """

    file: str
    precision: str
    method: str = ""
    accuracy: float | None = None
    agreement_with_fp32: float | None = None
    size_bytes: int = 0
    median_ms: float | None = None
    scheme: str = ""
    temperature: float = 1.0
    thresholds: Thresholds | None = None
    excluded: int = 0


@dataclass(frozen=True, slots=True)
class TrainingNote:
    """What the model learnt from. `images`: (label, training images, images held back).

    Who labelled them stays at home; `labelled_images` are how many each labelled, most first. `teacher`: what it was distilled
    from; `pruned`: the share of channels taken away.
    """

    images: Sequence[tuple[str, int, int]]
    labellers: int = 0
    audited_images: int = 0
    dataset_sha256: str = ""
    recipe: str = ""
    reviewed_images: int = 0
    warnings: Sequence[str] = ()
    labelled_images: Sequence[int] = ()
    teacher: str = ""
    pruned: float = 0.0


@dataclass(frozen=True, slots=True)
class CardFacts:
    """All that a card is written from. `training` and `gate` are None where there is no record.

    `report_sha256`: the hash of the gate's report for people, "" without one.
    """

    name: str
    version: str
    labels: tuple[Label, ...]
    preprocess: PreprocessSpec
    artefacts: tuple[Artefact, ...]
    thresholds: Thresholds
    notes: Sequence[ArtefactNote] = ()
    training: TrainingNote | None = None
    gate: GateReport | None = None
    golden_inputs: int = 0
    golden_tolerance: float = 0.0
    compatibility: Compatibility = field(default_factory=Compatibility)
    memory_mib: float = 0.0
    lineage: Lineage = field(default_factory=Lineage)
    simulated: bool = False
    report_sha256: str = ""
