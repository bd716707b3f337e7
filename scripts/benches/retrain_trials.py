"""One candidate before the gate: made, measured, and held against the truth that the gate does not see."""

from __future__ import annotations

import pickle
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import msgspec

from cloud.clock import SystemClock
from cloud.gate.corruptions import corrupt
from cloud.gate.scorecard import Incumbent, Scorecard
from cloud.quantize.gate_run import GateJob, measure
from cloud.quantize.job import QuantizeJob
from cloud.quantize.ranges import Calibration
from cloud.retrain.job import TrainJob
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import Recipe
from scripts.benches.retrain_candidates import Candidate, Fault
from scripts.benches.retrain_pictures import Deal, Picture, deal_steel, draw_labels, see, write_folders, write_reviewed
from scripts.benches.retrain_runs import THREADS, make_run, shipped_right
from scripts.benches.retrain_spoil import spoil_int8
from scripts.benches.retrain_traps import (
    differing,
    mark_label,
    mark_others,
    marked_parent,
    mislabelled_parent,
    victim_of,
    wrong_labels,
)

# A hundred candidates must fit into minutes: small images, few steps, one calibration.
SIDE, INPUT_PX, WIDTH = 64, 48, 1.0
# What is spoilt on purpose is not searched for a minute first.
_LIGHTLY = QuantizeJob(run="", methods=(Calibration.MINMAX,), search_s=0.0, qat_steps=0)
_BASE_STEPS, _WARM_RATE, _SHORTCUT_RATE = 600, 1e-3, 4e-3
# Points of accuracy on the test set within which two models are the same: half of the gate's margin, and about twice the
# standard error of a difference on 480 images.
SAME_PT = 2.0


@dataclass(frozen=True, slots=True)
class Truth:
    """The candidate minus the incumbent on the test set that nobody else reads, in points: as the base was, under the drift,
    and with a shortcut's mark on every other label (0 where there is no mark)."""

    clean_pt: float
    drift_pt: float
    marked_pt: float
    candidate_drift: float
    incumbent_drift: float

    def worse(self) -> bool:
        """Return whether the incumbent should have stayed: something is lost, or nothing is won where there was something."""
        lost = min(self.clean_pt, self.marked_pt) < -SAME_PT
        return lost or (self.drift_pt < SAME_PT and self.incumbent_drift < 1 - SAME_PT / 100)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a candidate: everything the gate looks at, and the truth."""

    candidate: Candidate
    card: Scorecard
    incumbent: Incumbent | None
    truth: Truth
    seconds: float


@dataclass(frozen=True, slots=True)
class Bed:
    """Where candidates are made: a folder for all of them, and how much is done. `of_label`: steel images of each label."""

    root: Path
    of_label: int = 300
    base_steps: int = _BASE_STEPS
    corruption_images: int = 16
    steps_share: float = 1.0

    def deal(self) -> Deal:
        """Return the pictures."""
        return _steel(self.of_label)

    def base_job(self) -> TrainJob:
        """Return how the incumbent of all of them is trained."""
        recipe = Recipe(epochs=1, min_steps=self.base_steps, width=WIDTH)
        data = str(self.root / "base-images")
        return TrainJob(out=str(self.root / "incumbent"), data=data, input_px=INPUT_PX, recipe=recipe, threads=THREADS)


@lru_cache(maxsize=1)
def _steel(of_label: int) -> Deal:
    # Once a process: 1,800 files are a second.
    return deal_steel(SIDE, of_label=of_label)


def prepare(bed: Bed) -> None:
    """Write the base's images and train the incumbent; workers find both."""
    deal = bed.deal()
    job = bed.base_job()
    if not (bed.root / "incumbent" / "quantize.json").exists():
        write_folders(deal.base, Path(str(job.data)))
    make_run(job, _LIGHTLY)


def try_candidate(bed: Bed, candidate: Candidate) -> Trial:
    """Make one candidate, or take what is there, and return what the gate would look at."""
    kept = bed.root / "trials" / f"{candidate.name}.pickle"
    if kept.exists():
        trial: Trial = pickle.loads(kept.read_bytes())  # our own file
        if trial.candidate == candidate:
            return trial
    begun = time.perf_counter()
    deal = bed.deal()
    incumbent = RunFolder(bed.root / "incumbent")
    run = _make(bed, candidate, deal, incumbent)
    evidence = measure(
        GateJob(
            run=str(run.root),
            incumbent=str(incumbent.root),
            corruption_images=bed.corruption_images,
            seed=candidate.seed,
            threads=THREADS,
        ),
        SystemClock(),
    )
    truth = _truth(candidate, deal, run, incumbent)
    trial = Trial(candidate, evidence.card, evidence.incumbent, truth, round(time.perf_counter() - begun, 2))
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = kept.with_suffix(".tmp")
    temporary.write_bytes(pickle.dumps(trial))
    temporary.replace(kept)
    return trial


def _make(bed: Bed, candidate: Candidate, deal: Deal, incumbent: RunFolder) -> RunFolder:
    root = _folder(bed, candidate)
    labels = sorted({p.label for p in deal.base})
    pool = see(deal.pool, partial(corrupt, kind=candidate.drift, severity=candidate.severity), 1_000 * candidate.seed)
    chosen: list[Picture] = draw_labels(pool, candidate.labels, candidate.seed)
    said = [p.label for p in chosen]
    parent = incumbent.root
    if candidate.fault is Fault.MISLABELLED and candidate.of_base:
        parent = mislabelled_parent(
            incumbent,
            root / "parent",
            candidate.share,
            candidate.seed,
            systematic=candidate.systematic,
            in_holdout=candidate.in_holdout,
        )
    elif candidate.fault is Fault.MISLABELLED:
        said = wrong_labels(said, labels, candidate.share, candidate.seed, systematic=candidate.systematic)
    elif candidate.fault is Fault.SHORTCUT:
        victim = victim_of(labels, candidate.seed)
        parent = marked_parent(incumbent, root / "parent", victim, candidate.seed, in_holdout=candidate.in_holdout)
        chosen = mark_label(chosen, victim)
    steps = max(1, round(candidate.steps * bed.steps_share))
    job = TrainJob(
        out=str(root / "run"),
        parent=str(parent),
        reviewed=str(write_reviewed(chosen, root / "reviewed", said)),
        seed=candidate.seed,
        recipe=Recipe(
            warm_steps=steps,
            warm_learning_rate=_SHORTCUT_RATE if candidate.fault is Fault.SHORTCUT else _WARM_RATE,
            width=WIDTH,
        ),
        threads=THREADS,
    )
    if candidate.fresh:
        base = bed.base_job()
        recipe = Recipe(epochs=1, min_steps=steps, width=WIDTH)
        job = msgspec.structs.replace(job, parent=None, data=base.data, input_px=INPUT_PX, seed=0, recipe=recipe)
    run, _ = make_run(job, _LIGHTLY)
    spoilt = run.root / "spoilt"
    if candidate.rounding is not None and not spoilt.exists():
        spoil_int8(run, candidate.rounding, candidate.share)
        spoilt.touch()
    return run


def _folder(bed: Bed, candidate: Candidate) -> Path:
    """Return the candidate's folder, emptied where another one of its name was made there."""
    root = bed.root / "candidates" / candidate.name
    made = root / "candidate.txt"
    if not made.exists() or made.read_text("utf-8") != repr(candidate):
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        made.write_text(repr(candidate), "utf-8")
    return root


def _truth(candidate: Candidate, deal: Deal, run: RunFolder, incumbent: RunFolder) -> Truth:
    through = partial(corrupt, kind=candidate.drift, severity=candidate.severity)
    drifted = see(deal.test, through, 77_000 + candidate.seed)
    ours, theirs = shipped_right(run.root, drifted), shipped_right(incumbent.root, drifted)
    return Truth(
        clean_pt=_apart(run, incumbent, deal.test),
        drift_pt=differing(ours, theirs),
        marked_pt=_apart(run, incumbent, mark_others(deal.test, victim_of(_labels(deal), candidate.seed)))
        if candidate.fault is Fault.SHORTCUT
        else 0.0,
        candidate_drift=float(ours.mean()),
        incumbent_drift=float(theirs.mean()),
    )


def _apart(run: RunFolder, incumbent: RunFolder, pictures: Sequence[Picture]) -> float:
    return differing(shipped_right(run.root, pictures), shipped_right(incumbent.root, pictures))


def _labels(deal: Deal) -> list[str]:
    return sorted({p.label for p in deal.base})
