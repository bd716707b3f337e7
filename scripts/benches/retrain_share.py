"""What setting labelled parts aside costs the model that would learn from them: `python -m scripts.benches.retrain_share FOLDER`.

The same labelled parts of a drifted line, with the shares of `SHARES` kept from training, seed by seed: how much of the test set,
which shows the new look and which nobody else reads, the int8 artefact names right, and how many defects are among what it is
surest to be good. On tiles the drift is real (exposures 4 to 6 after 1 to 3); on steel it is made. Beside them *folds*: four
models, each without a quarter of the labelled parts, judge the parts that they did not learn, in place of the one that learnt all
and would ship. FOLDER keeps what is made; a bench that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import msgspec
import numpy as np

from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.job import QuantizeJob
from cloud.quantize.ranges import Calibration
from cloud.retrain.job import TrainJob
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import Recipe, Split
from contract.decode import softmax
from contract.manifest import LabelKind
from scripts.benches.retrain_pictures import (
    Deal,
    Drift,
    Picture,
    deal_steel,
    deal_tiles,
    draw_labels,
    write_folders,
    write_reviewed,
)
from scripts.benches.retrain_runs import THREADS, class_mean, file_right, make_run
from scripts.benches.retrain_workers import spread

SHARES = (0.0, 0.15, 0.3, 0.5)
FOLDS = 4
# By set: pixels a side of a picture, and of the model's input.
_SIDES = {"steel": (64, 48), "tiles": (96, 64)}
_SEED = 3
# Few and small steps: some seconds a model on one core.
_RECIPE = Recipe(epochs=1, min_steps=600, warm_steps=300)
_LIGHTLY = QuantizeJob(run="", methods=(Calibration.MINMAX,), search_s=0.0, qat_steps=0)


@dataclass(frozen=True, slots=True)
class Case:
    """Labelled parts of one set under one drift, `share` of them set aside; `fold`: without that fourth of them, none set aside."""

    images: str
    drift: Drift
    labels: int
    share: float
    seed: int
    fold: int | None = None

    @property
    def name(self) -> str:
        """What files call it."""
        kept = f"{self.share:g}" if self.fold is None else f"fold{self.fold}"
        return f"{self.images}_{self.drift.value}_{self.labels}_{kept}_{self.seed}"


class Outcome(msgspec.Struct, frozen=True):
    """What came of a case. `right`, `by_class`: of the test set, 0..1; `surest_missed`: the defects among the half of it that the
    model is surest to be good, 0..1, 0 where no label is good. `unlearnt`: the same labelled parts kept from this model, and
    `unlearnt_right`, how many of them it names right. `learnt`: parts of the new look that it learnt."""

    right: float
    by_class: float
    surest_missed: float
    unlearnt: int
    unlearnt_right: int
    learnt: int


def cases(sets: Sequence[tuple[str, Drift, Sequence[int]]], seeds: int) -> list[Case]:
    """Return what to make, seed by seed, so that what is done by any moment says something of all."""
    return [
        Case(images, drift, labels, share, seed)
        for seed in range(seeds)
        for images, drift, counts in sets
        for labels in counts
        for share in SHARES
    ]


def fold_of(pictures: Sequence[Picture], fold: int) -> list[Picture]:
    """Return the pictures of one of `FOLDS` folds; no part is in two of them."""
    parts = sorted({p.part for p in pictures})
    return [p for p in pictures if parts.index(p.part) % FOLDS == fold]


def try_case(root: Path, case: Case) -> Outcome:
    """Return what came of a case, or of the same case made earlier."""
    kept = root / "outcomes" / f"{case.name}.json"
    if kept.exists():
        return msgspec.json.decode(kept.read_bytes(), type=Outcome)
    deal = _deal(case.images)
    _base(root, case.images)
    _, pool, test = deal.drifted(case.drift, _SEED)
    chosen = draw_labels(pool, case.labels, case.seed)
    left_out = fold_of(chosen, case.fold) if case.fold is not None else []
    names = {p.name for p in left_out}
    out = root / case.name
    reviewed = write_reviewed([p for p in chosen if p.name not in names], root / f"{case.name}-reviewed")
    job = TrainJob(
        out=str(out),
        parent=str(root / case.images / "base"),
        reviewed=str(reviewed),
        drift_share=case.share,
        seed=case.seed,
        recipe=_RECIPE,
        threads=THREADS,
    )
    run, _ = make_run(job, _LIGHTLY)
    right = file_right(run, run.int8, test)
    aside = {Path(entry.file).name for entry in run.dataset().entries if entry.split is Split.DRIFT}
    unlearnt = left_out or [p for p in chosen if f"{p.name}.png" in aside]
    outcome = Outcome(
        float(right.mean()),
        class_mean(right, test),
        surest_missed(run, test),
        len(unlearnt),
        int(file_right(run, run.int8, unlearnt).sum()) if unlearnt else 0,
        len(chosen) - len(unlearnt),
    )
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(msgspec.json.encode(outcome))
    for made in (out, reviewed):
        shutil.rmtree(made)
    return outcome


def surest_missed(run: RunFolder, pictures: Sequence[Picture]) -> float:
    """Return the share of defects among the half of the pictures that the int8 artefact is surest to be good."""
    info = run.info()
    good = np.array([label.kind is LabelKind.GOOD for label in info.labels])
    if not good.any():
        return 0.0
    scores = ArtefactRunner(run.int8, info.preprocess, threads=THREADS).scores([p.pixels for p in pictures])
    surest = softmax(scores)[:, good].sum(1).argsort()[::-1][: len(pictures) // 2]
    names = {label.name for label in info.labels if label.kind is LabelKind.GOOD}
    defect = np.array([p.label not in names for p in pictures])
    return float(defect[surest].mean())


def lines_of(outcomes: Mapping[Case, Outcome]) -> list[str]:
    """Return a line for each set, number of labels and share, over the seeds; gains are on a share of .15 with the same labels and
    seed, with the standard error of their mean."""
    groups: defaultdict[tuple[str, str, int, float], dict[int, Outcome]] = defaultdict(dict)
    folds: defaultdict[tuple[str, str, int, int], list[Outcome]] = defaultdict(list)
    for case, outcome in outcomes.items():
        if case.fold is None:
            groups[case.images, case.drift.value, case.labels, case.share][case.seed] = outcome
        else:
            folds[case.images, case.drift.value, case.labels, case.seed].append(outcome)
    lines = []
    for (images, drift, labels, share), by_seed in sorted(groups.items()):
        found, beside = list(by_seed.values()), groups.get((images, drift, labels, SHARES[1]), {})
        pairs = [(by_seed[seed], beside[seed]) for seed in by_seed if seed in beside]
        lines.append(
            f"{images} {drift}, {labels} labels, {share:.2f} aside, {np.mean([o.learnt for o in found]):.0f} learnt, "
            f"{len(found)} seeds: right {np.mean([o.right for o in found]):.3f} "
            f"({_gain([ours.right - theirs.right for ours, theirs in pairs])}), "
            f"by label {np.mean([o.by_class for o in found]):.3f} "
            f"({_gain([ours.by_class - theirs.by_class for ours, theirs in pairs])}), defects in the surest half "
            f"{np.mean([o.surest_missed for o in found]):.3f} "
            f"({_gain([ours.surest_missed - theirs.surest_missed for ours, theirs in pairs])})"
        )
    for (images, drift, labels, seed), each in sorted(folds.items()):
        unlearnt = sum(o.unlearnt for o in each)
        ships = groups.get((images, drift, labels, 0.0), {}).get(seed)
        lines.append(
            f"{images} {drift}, {labels} labels, seed {seed}, {len(each)} folds: right of {unlearnt} parts not learnt "
            f"{sum(o.unlearnt_right for o in each) / max(1, unlearnt):.3f}, of the test set {np.mean([o.right for o in each]):.3f}"
            + (f"; the model that learnt all {ships.right:.3f}" if ships is not None else "")
        )
    return lines


def _gain(gains: Sequence[float]) -> str:
    if len(gains) < 2:
        return "-"
    return f"{100 * np.mean(gains):+.1f} pt, s.e. {100 * np.std(gains, ddof=1) / len(gains) ** 0.5:.1f}"


@lru_cache(maxsize=2)
def _deal(images: str) -> Deal:
    side, _ = _SIDES[images]
    return deal_steel(side) if images == "steel" else deal_tiles(side)


def _base(root: Path, images: str) -> None:
    """Train the model that ran before the drift, where it is not there."""
    deal, data = _deal(images), root / images / "base-images"
    if not data.exists():
        write_folders(deal.base, data)
    job = TrainJob(
        out=str(root / images / "base"),
        data=str(data),
        good=deal.good,
        part_pattern=r"^(s\d+)_" if images == "tiles" else None,
        input_px=_SIDES[images][1],
        recipe=_RECIPE,
        threads=THREADS,
    )
    make_run(job, _LIGHTLY)


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def main() -> None:
    """Make what is missing, one model at a time, and print what is there."""
    parser = argparse.ArgumentParser(description="What setting labelled parts aside costs the model.")
    parser.add_argument("folder", type=Path, help="keeps what is made")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--labels", type=_numbers, default=[40, 120], help="of the 196 of tiles' pool")
    parser.add_argument(
        "--steel", type=_numbers, default=[], help="of the 300 of steel's pool, under defocus; none by default"
    )
    parser.add_argument("--folds", action="store_true", help="cross-fit at the last of --labels too")
    args = parser.parse_args()
    wanted = cases([("tiles", Drift.EXPOSURE, args.labels), ("steel", Drift.DEFOCUS, args.steel)], args.seeds)
    if args.folds:
        wanted += [
            Case("tiles", Drift.EXPOSURE, args.labels[-1], 0.0, seed, fold)
            for seed in range(args.seeds)
            for fold in range(FOLDS)
        ]
    outcomes = dict(zip(wanted, spread("shares", partial(try_case, args.folder), wanted, 1), strict=True))
    print("\n".join(lines_of(outcomes)))


if __name__ == "__main__":
    main()
