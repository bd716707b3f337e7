"""What a run folder's reports say, as the facts of a model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cloud.gate.scorecard import GateReport
from cloud.quantize.scheme import RULES, Scheme
from cloud.quantize.tflite_export import load_tflite_report
from cloud.registry.blobs import sha256_of
from cloud.registry.bundle import BundleContent
from cloud.registry.card_facts import ArtefactNote, CardFacts, TrainingNote
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import ArtefactFigures, RunInfo, Split
from contract.manifest import RuntimeKind


def card_facts(run: RunFolder, content: BundleContent, gate: GateReport | None) -> CardFacts:
    """Return the facts of the bundle that `run` is released as.

    Raises:
        NotFound, BadDataset: a report of the run is missing or damaged.
    """
    info, quantized = run.info(), run.quantize_report()
    pixels, _ = run.load_golden()
    tflite = any(each.runtime is RuntimeKind.TFLITE for each in content.artefacts)
    return CardFacts(
        name=content.name,
        version=content.version,
        labels=content.labels,
        preprocess=content.preprocess,
        artefacts=content.artefacts,
        thresholds=content.thresholds,
        notes=_notes(quantized.artefacts if not tflite else (*quantized.artefacts, load_tflite_report(run).artefact)),
        training=_training(run, info),
        gate=gate,
        golden_inputs=len(pixels),
        golden_tolerance=content.golden.max_abs_error if content.golden else quantized.golden_max_abs_error,
        compatibility=content.compatibility,
        memory_mib=content.memory_mib,
        lineage=content.lineage,
        simulated=content.simulated,
        report_sha256=sha256_of(run.report) if gate is not None and run.report.is_file() else "",
    )


def _notes(artefacts: Sequence[ArtefactFigures]) -> tuple[ArtefactNote, ...]:
    return tuple(
        ArtefactNote(
            each.file,
            each.precision,
            _made_by(each),
            each.accuracy,
            each.agreement_with_fp32,
            each.size_bytes,
            each.median_ms,
            scheme=each.scheme,
            temperature=each.temperature,
            thresholds=each.thresholds,
            excluded=len(each.excluded),
        )
        for each in artefacts
    )


def _made_by(figures: ArtefactFigures) -> str:
    scheme = next((each for each in Scheme if each.value == figures.scheme), None)
    made = figures.method if scheme is None else f"{RULES[scheme].note}, {figures.method}"
    return made if figures.temperature == 1.0 else f"{made}, temperature {figures.temperature:g}"


def _training(run: RunFolder, info: RunInfo) -> TrainingNote:
    entries = run.dataset().entries
    train = Counter(entry.label for entry in entries if entry.split is Split.TRAIN)
    held = Counter(entry.label for entry in entries if entry.split in (Split.HOLDOUT, Split.DRIFT))
    settings = msgspec.to_builtins(info.recipe)
    recipe = ", ".join(f"{name} {value}" for name, value in settings.items())
    return TrainingNote(
        images=tuple((label.name, train[label.name], held[label.name]) for label in info.labels),
        labellers=len({entry.labeller for entry in entries}),
        audited_images=sum(entry.audit for entry in entries),
        dataset_sha256=f"{info.dataset_sha256} ({info.dataset})" if info.dataset else info.dataset_sha256,
        recipe=f"{recipe}; {info.figures.steps} steps, seed {info.seed}, {info.figures.parameters} parameters",
        reviewed_images=info.figures.reviewed_images,
        warnings=info.warnings,
        labelled_images=[count for _, count in Counter(entry.labeller for entry in entries).most_common()],
        # A run folder's path says where it lies at home; its name is enough.
        teacher=Path(info.teacher).name,
        pruned=info.recipe.prune,
    )
