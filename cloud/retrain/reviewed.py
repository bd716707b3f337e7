"""Images that a person labelled after an alarm, merged into a training set.

A reviewed folder holds images and `labels.jsonl`, one line an image:
{"file": "a.png", "label": "scratch", "part": "p17", "labeller": "ann", "source": "line3-cam1", "audit": true, "inclusion": 0.02}
and, where they are known, "also": ["dent"] for further labels and "labelled_at", Unix seconds.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path

import msgspec

from cloud.retrain.dataset import Dataset
from cloud.retrain.images import load_image
from cloud.retrain.layouts.found import LATEST_S, finite
from cloud.retrain.near_duplicates import look_of
from cloud.retrain.run_records import DRIFT_SHARE, DatasetEntry, Split
from cloud.retrain.samples import HELD_BYTES, PixelStore, Sample
from cloud.retrain.splits import split_parts
from contract.errors import BadDataset, BadImage

LABELS_FILE = "labels.jsonl"
REVIEWED_SOURCE = "reviewed"


class ReviewedLabel(msgspec.Struct, frozen=True):
    """One line of labels.jsonl. `audit`: drawn at random, with probability `inclusion`."""

    file: str
    label: str
    part: str = ""
    labeller: str = ""
    source: str = ""
    audit: bool = False
    inclusion: float = 1.0
    also: tuple[str, ...] = ()
    labelled_at: float | None = None


def add_reviewed(base: Dataset, folder: Path, *, drift_share: float = DRIFT_SHARE, seed: int = 0) -> Dataset:
    """Return `base` with the reviewed images of `folder`, a share of them (by part) held out as the DRIFT split.

    An image reviewed twice counts once, under its last label.

    Raises:
        BadDataset: as `read_reviewed`, or a share that leaves nothing to learn.
    """
    known, present = {label.name for label in base.labels}, {s.entry.sha256 for s in base.samples}
    fresh = read_reviewed(folder, known, present, len(base.folders))
    splits = _split(base, fresh, drift_share, seed)
    merged = tuple(Sample(s.image, msgspec.structs.replace(s.entry, split=splits[s.entry.part])) for s in fresh)
    folders = (*base.folders, folder.resolve())
    return Dataset(base.labels, folders, base.samples + merged, base.warnings, base.disagreements)


def read_reviewed(folder: Path, known: Set[str], present: Set[str], number_of_folder: int) -> list[Sample]:
    """Return the reviewed images of `folder`, all of them as if to be learnt, without those whose SHA-256 is in `present`.

    Args:
        known: names of the model's labels.
        number_of_folder: what the entries call it.
    Raises:
        BadDataset: no labels.jsonl, a line that is no label (its number is named), a label that the model does not have, an
            image that is missing or unreadable.
    """
    images: dict[str, Sample] = {}
    store = PixelStore(HELD_BYTES)
    for number, line in _read_lines(folder):
        where = f"{folder / LABELS_FILE} line {number}"
        for name in (line.label, *line.also):
            if name not in known:
                raise BadDataset(
                    f"{where}: '{name}' is no label of this model",
                    hint=f"the labels are {', '.join(sorted(known))}; a new class needs a new base model",
                )
        file = folder / line.file
        if not file.resolve().is_relative_to(folder.resolve()):
            raise BadDataset(f"{where}: '{line.file}' lies outside the folder", hint="name files inside the folder")
        try:
            image = load_image(file)
        except BadImage as error:
            raise BadDataset(f"{where}: {error.message}", hint=error.hint) from error
        if image.sha256 in present:
            continue
        entry = DatasetEntry(
            line.file,
            number_of_folder,
            image.sha256,
            line.label,
            line.labeller,
            f"{REVIEWED_SOURCE}:{line.source}" if line.source else REVIEWED_SOURCE,
            Split.TRAIN,
            line.part or f"reviewed/{Path(line.file).stem}",
            line.audit,
            line.inclusion,
            tuple(name for name in dict.fromkeys(line.also) if name != line.label),
            line.labelled_at,
            look=look_of(image.pixels),
        )
        images[image.sha256] = Sample(store.keep(file.resolve(), image.sha256, image.pixels), entry)
    return list(images.values())


def is_reviewed(entry: DatasetEntry) -> bool:
    """Return whether a person labelled this image after an alarm."""
    return entry.source.startswith(REVIEWED_SOURCE)


def newest_folder(entries: Sequence[DatasetEntry]) -> int | None:
    """Return the number of the folder that was labelled last, of those with reviewed or drifted images; None without any.

    Every retrain adds its labels as a folder behind those that its parent had.
    """
    return max((e.folder for e in entries if is_reviewed(e) or e.split is Split.DRIFT), default=None)


def _split(base: Dataset, fresh: Sequence[Sample], drift_share: float, seed: int) -> dict[str, Split]:
    if not 0 <= drift_share < 1:
        raise BadDataset(f"a drift share of {drift_share:g} leaves nothing to learn", hint="use 0 to 0.9")
    splits = split_parts({s.entry.part: s.entry.label for s in fresh}, ((Split.DRIFT, drift_share),), Split.TRAIN, seed)
    # One part never sits in two splits (DESIGN 7): a part that the base dataset knows keeps its side of the wall.
    base_split = {s.entry.part: s.entry.split for s in base.samples}
    for part in splits:
        if part in base_split:
            splits[part] = Split.TRAIN if base_split[part] is Split.TRAIN else Split.DRIFT
    return splits


def _read_lines(folder: Path) -> list[tuple[int, ReviewedLabel]]:
    file = folder / LABELS_FILE
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadDataset(
            f"cannot read {file}: {getattr(error, 'strerror', None) or error}",
            hint="a reviewed folder holds images and labels.jsonl",
        ) from error
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            label = msgspec.json.decode(line, type=ReviewedLabel)
        except msgspec.DecodeError as error:
            raise BadDataset(
                f"{file} line {number} is no label: {error}", hint='a line is {"file": "a.png", "label": "..."}'
            ) from error
        if not 0 < label.inclusion <= 1:
            raise BadDataset(f"{file} line {number}: inclusion {label.inclusion:g} is outside 0..1")
        if label.labelled_at is not None:
            finite(label.labelled_at, f"{file} line {number}", "labelled_at", 0, LATEST_S)
        lines.append((number, label))
    if not lines:
        raise BadDataset(f"{file} holds no labels", hint="label at least one image first")
    return lines
