"""How many labels bring a drifted line back: recovery at 30, 60, 120 and 240 labels, on steel and tiles.

Recovery is the accuracy of the retrained int8 artefact on the drifted test set, over that of the oracle's int8 artefact: the same
network trained from nothing on all of the base's images as they look under the drift, their labels known. Both learn and are
quantized by the product's defaults. Of tiles there are some 196 images to label, which stand for 240. What ships may be the fp32
file, where that is faster; recovery is of int8 all the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import msgspec

from cloud.retrain.job import TrainJob
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import Recipe
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
from scripts.benches.retrain_workers import say, spread

LABELS = (30, 60, 120, 240)
SETS = ("steel", "tiles")
_SEED = 3
_DEFAULT = Recipe()
_SEEN = 0.5


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done. `labels`: points of the curve; `seen_at`: those of them tried with `Recipe.seen_drift` too; `side`,
    `input_px`: None and 0 for the images' own; `recipe`: of every run.
    """

    labels: tuple[int, ...] = LABELS
    seen_at: tuple[int, ...] = (120,)
    sets: tuple[str, ...] = SETS
    drifts: tuple[Drift, ...] = tuple(Drift)
    side: int | None = None
    input_px: int = 0
    of_label: int = 300
    recipe: Recipe = _DEFAULT


@dataclass(frozen=True, slots=True)
class Line:
    """A line to bring back: which images, under which drift, with how many labels; 0 labels are the oracle's. `seen`: base images
    are shown as the reviewed ones look."""

    images: str
    drift: Drift
    labels: int
    seen: bool = False

    @property
    def name(self) -> str:
        """What files and figures call it, without the images."""
        return f"{self.drift.value}_{self.labels or 'oracle'}{'_seen' if self.seen else ''}"


class Point(msgspec.Struct, frozen=True):
    """What a line's model names right of the test set, 0..1: under the drift, by label, and as it was before."""

    drifted: float
    drifted_by_class: float
    clean: float
    ships: str
    seconds: float


def measure_recovery(root: Path, effort: Effort, workers: int | None = None) -> dict[str, float]:
    """Return the `retrain.*` figures; runs and points that lie in `root` are not made again."""
    figures: dict[str, float] = {}
    say("recovery: base models")
    spread("recovery: base models", partial(_base, root, effort), effort.sets, workers)
    lines = [
        Line(images, drift, labels, seen)
        for labels in (0, *sorted(effort.labels, reverse=True))
        for images in effort.sets
        for drift in effort.drifts
        for seen in ((False, True) if labels in effort.seen_at else (False,))
    ]
    points = dict(
        zip(lines, spread("recovery: lines", partial(_bring_back, root, effort), lines, workers), strict=True)
    )
    for line, point in points.items():
        name = f"retrain.{line.images}_{line.name}"
        oracle = points[Line(line.images, line.drift, 0)]
        figures[f"{name}_acc"] = point.drifted
        figures[f"{name}_by_class"] = point.drifted_by_class
        figures[f"{name}_s"] = point.seconds
        if line.labels:
            figures[f"{name}_recovery"] = point.drifted / oracle.drifted
            figures[f"{name}_clean_acc"] = point.clean
    for images in effort.sets:
        figures |= _before(root, effort, images)
    at_120 = [
        figures[key]
        for images in effort.sets
        for drift in (Drift.DEFOCUS, Drift.NOISE)
        if (key := f"retrain.{images}_{drift.value}_120_recovery") in figures
    ]
    if at_120:
        figures["retrain.recovery_120"] = min(at_120)
    return figures


def base_run(root: Path, effort: Effort, images: str) -> Path:
    """Return the run of the base model of a set of images, trained when it is not there."""
    deal = _deal(images, effort)
    job = _job(root / images / "base", deal.base, deal, effort)
    return make_run(job)[0].root


def _base(root: Path, effort: Effort, images: str) -> str:
    return str(base_run(root, effort, images))


@lru_cache(maxsize=2)
def _deal(images: str, effort: Effort) -> Deal:
    return deal_steel(effort.side, of_label=effort.of_label) if images == "steel" else deal_tiles(effort.side)


def _job(out: Path, pictures: Sequence[Picture], deal: Deal, effort: Effort) -> TrainJob:
    """Return how a model is trained from nothing, its images written beside the run."""
    data = out.with_name(out.name + "-images")
    if not data.exists():
        write_folders(pictures, data)
    # Tiles' names begin with their session, and images of one session are of one part.
    pattern = r"^(s\d+)_" if deal.name == "tiles" else None
    return TrainJob(
        out=str(out),
        data=str(data),
        good=deal.good,
        part_pattern=pattern,
        input_px=effort.input_px,
        recipe=effort.recipe,
        threads=THREADS,
    )


def _bring_back(root: Path, effort: Effort, line: Line) -> Point:
    name = line.name
    kept = root / line.images / f"{name}.json"
    if kept.exists():
        return msgspec.json.decode(kept.read_bytes(), type=Point)
    begun = time.perf_counter()
    deal = _deal(line.images, effort)
    base, pool, test = deal.drifted(line.drift, _SEED)
    out = root / line.images / name
    if line.labels == 0:
        job = _job(out, base, deal, effort)
    else:
        reviewed = write_reviewed(draw_labels(pool, line.labels, _SEED), out.with_name(out.name + "-reviewed"))
        recipe = msgspec.structs.replace(effort.recipe, seen_drift=_SEEN) if line.seen else effort.recipe
        job = TrainJob(
            out=str(out),
            parent=str(root / line.images / "base"),
            reviewed=str(reviewed),
            seed=_SEED,
            recipe=recipe,
            threads=THREADS,
        )
    run, _ = make_run(job)
    seconds = time.perf_counter() - begun
    right = file_right(run, run.int8, test)
    point = Point(
        float(right.mean()),
        class_mean(right, test),
        float(file_right(run, run.int8, deal.test).mean()),
        run.quantize_report().ships,
        round(seconds, 2),
    )
    temporary = kept.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(point))
    temporary.replace(kept)
    return point


def _before(root: Path, effort: Effort, images: str) -> dict[str, float]:
    """Return what the base model makes of the test set before anybody labels anything."""
    deal, base = _deal(images, effort), RunFolder(root / images / "base")
    right = file_right(base, base.int8, deal.test)
    figures = {
        f"retrain.{images}_clean_acc": float(right.mean()),
        f"retrain.{images}_clean_by_class": class_mean(right, deal.test),
        f"retrain.{images}_pool": float(len(deal.pool)),
        f"retrain.{images}_test": float(len(deal.test)),
    }
    for drift in effort.drifts:
        _, _, test = deal.drifted(drift, _SEED)
        figures[f"retrain.{images}_{drift.value}_0_acc"] = float(file_right(base, base.int8, test).mean())
    return figures
