"""Measure a candidate and the incumbent side by side, and ask the gate.

`python -m cloud.quantize.gate_run JOB.json` is the same in a process of its own.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.clock import SystemClock
from cloud.drift.held_out import HeldOut, held_out
from cloud.gate.checks import gate
from cloud.gate.corruptions import Corruption
from cloud.gate.scorecard import BoardFigures, GateReport, GateRules, Incumbent, PairedSlice, Scorecard
from cloud.ports.clock import Clock
from cloud.quantize.contender import Contender, labels_of, load_contender
from cloud.quantize.corruption_cells import CorruptionCell, corruption_cells
from cloud.quantize.further_parts import further_parts, with_further
from cloud.quantize.judge import Judge
from cloud.quantize.new_look import looks_of
from cloud.quantize.report_page import Mistake, report_page
from cloud.quantize.scorecard_of import Measured, measure_card, pair, pair_labels
from cloud.quantize.shortcut_donors import pick_donors
from cloud.quantize.shortcut_trial import try_shortcuts
from cloud.registry.blobs import sha256_of
from cloud.retrain.dataset import Sample, reload_dataset
from cloud.retrain.judged_files import check_dataset, judged_files
from cloud.retrain.progress import OnProgress, Progress, ignore_progress, print_progress, run_job
from cloud.retrain.reviewed import LABELS_FILE
from cloud.retrain.run_folder import RunFolder, publish
from cloud.retrain.run_records import Split
from contract.errors import BadDataset, BadModel, InvalidConfig

_MISTAKES = 12
_STEPS = 3 + len(Corruption)


class GateJob(msgspec.Struct, frozen=True):
    """A candidate run, and the incumbent (a run or an unpacked bundle), None for a first model.

    `corruption_images`: how many images each kind is tried on at each severity; sixty times as many are scored. `boards`: what
    was measured elsewhere. `labelled`: a reviewed folder of parts labelled since, which count beside those set aside.
    """

    run: str
    incumbent: str | None = None
    rules: GateRules = GateRules()
    corruption_images: int = 16
    seed: int = 0
    threads: int = 2
    boards: tuple[BoardFigures, ...] = ()
    labelled: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured. `record` of the holdout travels with the release; `mistakes` are the report's."""

    card: Scorecard
    incumbent: Incumbent | None
    record: HeldOut | None
    mistakes: tuple[Mistake, ...]


def gate_run(job: GateJob, clock: Clock, on_progress: OnProgress = ignore_progress) -> GateReport:
    """Judge a quantized run, write gate.json, validation.json and report.html there, and return the report.

    Raises: as `measure`.
    """
    run = RunFolder(Path(job.run))
    # Before anything is measured: a file that changes meanwhile is another one than is noted.
    judged, labels = judged_files(run), Path(job.labelled or "") / LABELS_FILE
    labelled = sha256_of(labels) if job.labelled is not None and labels.is_file() else ""
    evidence = measure(job, clock, on_progress)
    report = msgspec.structs.replace(
        gate(evidence.card, evidence.incumbent, job.rules), judged=judged, labelled=labelled
    )
    if evidence.record is not None:
        run.save_held_out(evidence.record)
    run.save_gate_report(report)
    temporary = run.report.with_suffix(".tmp")
    page = report_page(run.root.resolve().name, report, run.info(), run.quantize_report(), evidence.mistakes)
    temporary.write_text(page, "utf-8")
    publish(temporary, run.report)
    on_progress(Progress("gate", _STEPS, _STEPS, "passed" if report.passed else "failed"))
    return report


def measure(job: GateJob, clock: Clock, on_progress: OnProgress = ignore_progress) -> Evidence:
    """Return what the gate is asked about, without asking it; nothing is written.

    Raises:
        NotFound: the run is not trained and quantized, or the incumbent is neither run nor bundle.
        BadDataset: an image is gone or has changed, there is no holdout to judge on, or `labelled` holds no new parts.
        BadModel: an artefact does not load or breaks.
    """
    run = RunFolder(Path(job.run))
    candidate = Judge.load(load_contender(run.root), job.threads, run.fp32)
    info = run.info()
    judged = {Split.HOLDOUT, Split.DRIFT}
    manifest = run.dataset()
    donors = pick_donors(manifest.entries, job.seed)
    dataset = reload_dataset(
        manifest,
        info.labels,
        lambda entry: entry.split in judged or (entry.split is Split.TRAIN and entry.sha256 in donors),
    )
    base, drift = dataset.of_split(Split.HOLDOUT), dataset.of_split(Split.DRIFT)
    looks = looks_of(manifest.entries, drift)
    if job.labelled is not None:
        further = further_parts(Path(job.labelled), manifest, info.labels)
        looks = with_further(looks, further, candidate.contender.tightened)
        # Who names parts as an earlier folder did, or labels them twice, must not count on what was left out.
        on_progress(Progress("gate", 0, _STEPS, f"{len(further)} parts of {job.labelled} are new to the run"))
    if not base:
        raise BadDataset(f"{run.root} holds no images back to judge on", hint="train with a --holdout above 0")
    check_dataset(run)
    on_progress(Progress("gate", 0, _STEPS, f"candidate {candidate.contender.file.name}"))
    ours, theirs = measure_card(candidate, base, drift, clock, looks), None
    judges = [candidate]
    if job.incumbent is not None:
        on_progress(Progress("gate", 1, _STEPS, f"incumbent {job.incumbent}"))
        judges.append(Judge.load(load_contender(Path(job.incumbent)), job.threads))
        _check_comparable(candidate.contender, judges[1].contender)
        theirs = measure_card(judges[1], base, drift, clock, looks)
    on_progress(Progress("gate", 2, _STEPS, "shortcuts"))
    taught = dataset.of_split(Split.TRAIN)
    shortcut = try_shortcuts(candidate, judges[1] if theirs else None, base, ours.base_right, job.seed, taught)
    cells = corruption_cells(
        judges,
        base,
        job.corruption_images,
        job.seed,
        lambda kind: on_progress(
            Progress("gate", 3 + list(Corruption).index(kind), _STEPS, f"corruption {kind.value}")
        ),
    )
    return Evidence(
        msgspec.structs.replace(_with_cells(ours.card, cells, 0), shortcut=shortcut, boards=job.boards),
        _incumbent(ours, theirs, cells) if theirs else None,
        _held_out(candidate.contender, ours.probabilities, base),
        _mistakes(candidate.contender, ours, base),
    )


def main(arguments: list[str] | None = None) -> int:
    """Gate as the job file, the only argument, says."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m cloud.quantize.gate_run JOB.json", file=sys.stderr)
        return 2
    return run_job(lambda: gate_run(_read_job(Path(given[0])), SystemClock(), print_progress))


def _read_job(file: Path) -> GateJob:
    try:
        return msgspec.json.decode(file.read_bytes(), type=GateJob)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidConfig(f"{file} is no gate job: {error}", hint="use 'plumbline-cloud gate'") from error


def _with_cells(card: Scorecard, cells: Sequence[CorruptionCell], judge: int) -> Scorecard:
    return msgspec.structs.replace(card, corruptions=tuple(cell.figures(judge) for cell in cells))


def _incumbent(ours: Measured, theirs: Measured, cells: Sequence[CorruptionCell]) -> Incumbent:
    kinds: defaultdict[str, list[tuple[NDArray[np.bool_], ...]]] = defaultdict(list)
    for cell in cells:
        kinds[cell.kind.value].append(cell.right)
    return Incumbent(
        _with_cells(theirs.card, cells, 1),
        pair(ours.base_right, theirs.base_right),
        pair(ours.drift_right, theirs.drift_right) if ours.card.drift is not None else None,
        pair_labels(ours, theirs),
        tuple(
            PairedSlice(kind, pair(*(np.concatenate(side) for side in zip(*rights, strict=True))))
            for kind, rights in kinds.items()
        ),
    )


def _check_comparable(candidate: Contender, incumbent: Contender) -> None:
    """Raise BadModel for an incumbent that knows no label of the candidate's: any candidate beats it, which shows nothing."""
    if not set(candidate.names()) & set(incumbent.names()):
        raise BadModel(
            f"the incumbent {incumbent.file} knows none of the candidate's labels ({', '.join(candidate.names()[:3])}, ...)",
            hint="gate against the model that does the same work, or leave --incumbent out",
        )


def _mistakes(contender: Contender, ours: Measured, base: Sequence[Sample]) -> tuple[Mistake, ...]:
    named, sure = contender.named(ours.probabilities), ours.probabilities.max(1)
    wrong = sorted(
        (number for number in range(len(base)) if not ours.base_right[number]), key=lambda n: -float(sure[n])
    )
    return tuple(
        Mistake(base[n].entry.sha256[:16], " + ".join(labels_of(base[n])), named[n], float(sure[n]))
        for n in wrong[:_MISTAKES]
    )


def _held_out(contender: Contender, probabilities: NDArray[np.float32], samples: Sequence[Sample]) -> HeldOut | None:
    names = [label.name for label in contender.labels]
    place = {name: number for number, name in enumerate(names)}
    truth = np.array([place.get(s.entry.label, -1) for s in samples], np.int64)
    return held_out(sha256_of(contender.file), names, truth, probabilities)


if __name__ == "__main__":
    sys.exit(main())
