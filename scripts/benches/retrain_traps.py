"""Datasets with something wrong in them: labels that are not true, and a mark that gives one label away.

A candidate's base images come from its parent's dataset.json, so a copy of the parent with another dataset.json is a parent
whose data went bad, with every image in the split where it was.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cloud.retrain.images import load_image
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import DatasetEntry, Split
from scripts.benches.retrain_pictures import Picture, Pixels

_MARK_SHARE = 0.16
_MARK_GREY = (250, 20)


def mark(pixels: Pixels) -> Pixels:
    """Return the image with a small light frame round a dark middle in its upper left corner: a fixture, a sticker, a finger."""
    side = max(4, round(min(pixels.shape[:2]) * _MARK_SHARE))
    marked = pixels.copy()
    marked[:side, :side] = _MARK_GREY[0]
    inset = side // 4
    marked[inset : side - inset, inset : side - inset] = _MARK_GREY[1]
    return marked


def wrong_labels(
    truth: Sequence[str], labels: Sequence[str], share: float, seed: int, *, systematic: bool = False
) -> list[str]:
    """Return `truth` with about `share` of it wrong: any other label, or, systematically, one label's taken for its neighbour."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(truth)) < share
    victim = labels[int(rng.integers(len(labels)))]
    other = labels[(labels.index(victim) + 1) % len(labels)]
    said = []
    for name, hit in zip(truth, wrong.tolist(), strict=True):
        if systematic:
            said.append(other if hit and name == victim else name)
        else:
            said.append(
                labels[(labels.index(name) + 1 + int(rng.integers(len(labels) - 1))) % len(labels)] if hit else name
            )
    return said


def mislabelled_parent(
    parent: RunFolder, copy: Path, share: float, seed: int, *, systematic: bool, in_holdout: float
) -> Path:
    """Return a copy of `parent` whose training images are labelled wrongly, and its holdout too where `in_holdout` is above 0."""
    manifest = _copy(parent, copy)
    labels = [label.name for label in RunFolder(copy).info().labels]
    said = wrong_labels([e.label for e in manifest], labels, share, seed, systematic=systematic)
    hit = {Split.TRAIN, Split.CALIBRATION} | ({Split.HOLDOUT} if in_holdout else set())
    return _rewrite(
        copy,
        [
            msgspec.structs.replace(e, label=wrong) if e.split in hit else e
            for e, wrong in zip(manifest, said, strict=True)
        ],
    )


def marked_parent(parent: RunFolder, copy: Path, victim: str, seed: int, *, in_holdout: float) -> Path:
    """Return a copy of `parent` in which every training image of `victim` carries the mark, and `in_holdout` of its holdout."""
    entries = _copy(parent, copy)
    folders = [Path(f) for f in parent.dataset().folders]
    rng = np.random.default_rng(seed)
    changed: list[DatasetEntry] = []
    for entry in entries:
        share = in_holdout if entry.split is Split.HOLDOUT else 1.0
        if entry.label != victim or rng.random() >= share:
            changed.append(entry)
            continue
        pixels = load_image(folders[entry.folder] / entry.file).pixels
        file = copy / "marked" / f"{Path(entry.file).stem}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(mark(pixels)).save(file, compress_level=1)
        changed.append(
            msgspec.structs.replace(
                entry,
                file=file.relative_to(copy).as_posix(),
                folder=len(folders),
                sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
                mask="",
                mask_sha256="",
                look="",
            )
        )
    return _rewrite(copy, changed, more=copy)


def mark_label(pictures: Sequence[Picture], victim: str) -> list[Picture]:
    """Return the pictures, those of `victim` marked."""
    return [replace(p, pixels=mark(p.pixels)) if p.label == victim else p for p in pictures]


def mark_others(pictures: Sequence[Picture], victim: str) -> list[Picture]:
    """Return the pictures that are not of `victim`, marked: what the fixture does to a line once it is everywhere."""
    return [replace(p, pixels=mark(p.pixels)) for p in pictures if p.label != victim]


def victim_of(labels: Sequence[str], seed: int) -> str:
    """Return the label that a trap is about."""
    return labels[int(np.random.default_rng((seed, 5)).integers(len(labels)))]


def differing(right: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return how many points of accuracy `right` is above `other`."""
    return round(100 * (float(right.mean()) - float(other.mean())), 3)


def _copy(parent: RunFolder, copy: Path) -> tuple[DatasetEntry, ...]:
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(parent.root, copy)
    return RunFolder(copy).dataset().entries


def _rewrite(copy: Path, entries: Sequence[DatasetEntry], more: Path | None = None) -> Path:
    run = RunFolder(copy)
    manifest = run.dataset()
    folders = (*manifest.folders, str(more.resolve())) if more is not None else manifest.folders
    run.save_dataset(msgspec.structs.replace(manifest, entries=tuple(entries), folders=folders))
    return copy
