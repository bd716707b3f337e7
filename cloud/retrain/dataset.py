"""A folder of labelled images to a dataset: pixels beside a manifest of content hashes (DESIGN 7)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.retrain.images import IMAGE_SUFFIXES, load_image
from cloud.retrain.labels import make_labels, no_good_warning
from cloud.retrain.run_folder import DatasetEntry, DatasetManifest, Split
from cloud.retrain.splits import split_parts
from contract.errors import BadDataset, BadImage
from contract.manifest import Label

LAYOUTS = ("folders", "prefix")
BASE_SOURCE = "base"
MIN_IMAGES_PER_LABEL = 4
# A message names this many bad files; more would not fit on a line a person reads.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a dataset."""

    pixels: NDArray[np.uint8]
    entry: DatasetEntry


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled images. `folders` are where the entries' files lie; `warnings` are for a person to read."""

    labels: tuple[Label, ...]
    folders: tuple[Path, ...]
    samples: tuple[Sample, ...]
    warnings: tuple[str, ...] = ()

    def manifest(self) -> DatasetManifest:
        """Return what the dataset consists of."""
        return DatasetManifest(tuple(str(f) for f in self.folders), tuple(s.entry for s in self.samples))

    def of_split(self, split: Split) -> list[Sample]:
        """Return the samples of one split, in order."""
        return [s for s in self.samples if s.entry.split is split]

    def index_of(self) -> dict[str, int]:
        """Return each label's place in the model's output."""
        return {label.name: i for i, label in enumerate(self.labels)}

    def channels(self) -> int:
        """Return 1 when every image is grey, else 3."""
        return 1 if all(s.pixels.ndim == 2 for s in self.samples) else 3


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder of images and how to read it.

    `layout`: "folders" (a folder a label) or "prefix" (the label is the file's stem up to the last "_"). `good`: labels that
    mean a good part, None to go by name. `suffix`: only files ending so. `exclude`: paths relative to `root` never to be
    read. `part_pattern`: a regular expression whose first group, found in the file's stem, names the part; None: the whole
    stem. `skip_unreadable`: leave unreadable images out and count them, rather than refuse.
    """

    root: Path
    layout: str = "folders"
    good: tuple[str, ...] | None = None
    suffix: str | None = None
    exclude: frozenset[str] = field(default_factory=frozenset)
    part_pattern: str | None = None
    skip_unreadable: bool = False


def read_dataset(
    source: FolderSource,
    *,
    holdout_share: float = 1 / 3,
    calibration_share: float = 0.1,
    seed: int = 0,
    known_splits: dict[str, Split] | None = None,
) -> Dataset:
    """Return the images of a folder, split by part.

    Args:
        source: the folder.
        holdout_share, calibration_share: how much of each label is kept for the gate, and for quantization and thresholds.
        seed: another seed gives another split.
        known_splits: splits by content hash that hold whatever the seed says, so that a parent's holdout is never learnt from.
    Raises:
        BadDataset: no such folder, no images, fewer than 4 of a label, unreadable ones (named), one image under two labels, or
            a layout that does not fit.
    """
    if source.layout not in LAYOUTS:
        raise BadDataset(f"'{source.layout}' is no layout", hint=f"use {' or '.join(LAYOUTS)}")
    if holdout_share < 0 or calibration_share < 0 or holdout_share + calibration_share >= 1:
        raise BadDataset(
            f"a holdout of {holdout_share:g} and a calibration share of {calibration_share:g} leave nothing to train on",
            hint="let the two shares sum to less than 1",
        )
    found = list(_find(source))
    if not found:
        raise BadDataset(f"{source.root} holds no images in layout '{source.layout}'", hint=_layout_hint(source))
    images, warnings = _load(source, found)
    _check_counts(images, source)
    label_of_part: dict[str, str] = {}
    for image in images:
        label_of_part.setdefault(image.part, image.label)
    shares = ((Split.HOLDOUT, holdout_share), (Split.CALIBRATION, calibration_share))
    splits = split_parts(label_of_part, shares, Split.TRAIN, seed)
    for image in images:
        if known_splits and image.sha256 in known_splits:
            splits[image.part] = known_splits[image.sha256]
    labels = make_labels(sorted({i.label for i in images}), source.good)
    warning = no_good_warning(labels)
    samples = tuple(
        Sample(
            i.pixels,
            DatasetEntry(i.file, 0, i.sha256, i.label, "folder", BASE_SOURCE, splits[i.part], i.part),
        )
        for i in images
    )
    return Dataset(labels, (source.root.resolve(),), samples, (*warnings, *([warning] if warning else [])))


def reload_dataset(
    manifest: DatasetManifest, labels: tuple[Label, ...], wanted: Callable[[DatasetEntry], bool] = lambda _: True
) -> Dataset:
    """Return the images that a run was made of, checked against their hashes.

    Raises:
        BadDataset: an image is gone or has changed.
    """
    folders = tuple(Path(f) for f in manifest.folders)
    samples = []
    for entry in manifest.entries:
        if not wanted(entry):
            continue
        file = folders[entry.folder] / entry.file
        try:
            image = load_image(file)
        except BadImage as error:
            raise BadDataset(error.message, hint="this run's dataset needs it: put it back, or train again") from error
        if image.sha256 != entry.sha256:
            raise BadDataset(f"{file} has changed since the run was made", hint="put it back, or train again")
        samples.append(Sample(image.pixels, entry))
    return Dataset(labels, folders, tuple(samples))


def join(first: Dataset, second: Dataset, labels: tuple[Label, ...]) -> Dataset:
    """Return both datasets as one, with the given labels."""
    offset = len(first.folders)
    moved = tuple(
        Sample(s.pixels, msgspec.structs.replace(s.entry, folder=s.entry.folder + offset)) for s in second.samples
    )
    return Dataset(
        labels, first.folders + second.folders, first.samples + moved, tuple({*first.warnings, *second.warnings})
    )


@dataclass(frozen=True, slots=True)
class _Image:
    file: str
    label: str
    part: str
    sha256: str
    pixels: NDArray[np.uint8]


def _find(source: FolderSource) -> Iterator[tuple[str, str, str]]:
    """Yield (relative file, label, part) of every image file."""
    root = source.root
    if not root.is_dir():
        raise BadDataset(f"{root} is no folder", hint="give the folder that holds the images")
    folders = [root] if source.layout == "prefix" else sorted(d for d in root.iterdir() if d.is_dir())
    for folder in folders:
        stems: dict[str, str] = {}
        for file in sorted(folder.iterdir()):
            suffix = file.suffix.lower()
            wanted = suffix in IMAGE_SUFFIXES if source.suffix is None else suffix == _dotted(source.suffix)
            relative = file.relative_to(root).as_posix()
            if not wanted or not file.is_file() or relative in source.exclude or file.name.startswith("."):
                continue
            if file.stem in stems:
                # Two images of one stem are a picture and its mask more often than not; masks would be learnt as images.
                raise BadDataset(
                    f"{folder} holds both {stems[file.stem]} and {file.name}",
                    hint="if one is a mask, name the images' ending with --suffix, e.g. --suffix jpg",
                )
            stems[file.stem] = file.name
            if source.layout == "folders":
                label = folder.name
            elif "_" in file.stem.strip("_"):
                label = file.stem.rsplit("_", 1)[0]
            else:
                raise BadDataset(
                    f"{file.name} has no label before a '_'", hint="name it LABEL_NUMBER, or use --layout folders"
                )
            yield relative, label, _part(source, label, file.stem)


def _load(source: FolderSource, found: Iterable[tuple[str, str, str]]) -> tuple[list[_Image], list[str]]:
    images: list[_Image] = []
    bad: list[str] = []
    by_hash: dict[str, _Image] = {}
    copies = 0
    for file, label, part in found:
        try:
            loaded = load_image(source.root / file)
        except BadImage as error:
            bad.append(error.message)
            continue
        image = _Image(file, label, part, loaded.sha256, loaded.pixels)
        first = by_hash.setdefault(loaded.sha256, image)
        if first is image:
            images.append(image)
        elif first.label == label:
            copies += 1
        else:
            raise BadDataset(
                f"{first.file} and {file} are the same image with two labels", hint="keep the right one of them"
            )
    warnings = []
    if bad and not source.skip_unreadable:
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise BadDataset("; ".join(bad[:_NAMED]) + more, hint="mend or remove them, or pass --skip-unreadable")
    if bad:
        warnings.append(f"skipped {len(bad)} unreadable images, the first: {bad[0]}")
    if copies:
        warnings.append(f"left out {copies} exact copies of images")
    return images, warnings


def _check_counts(images: Sequence[_Image], source: FolderSource) -> None:
    counts: dict[str, int] = {}
    for image in images:
        counts[image.label] = counts.get(image.label, 0) + 1
    few = {label: n for label, n in counts.items() if n < MIN_IMAGES_PER_LABEL}
    if few:
        shown = ", ".join(f"'{label}' ({n})" for label, n in sorted(few.items())[:_NAMED])
        more = f" and {len(few) - _NAMED} more labels" if len(few) > _NAMED else ""
        raise BadDataset(
            f"fewer than {MIN_IMAGES_PER_LABEL} images of {shown}{more}", hint="add images; " + _layout_hint(source)
        )
    if len(counts) < 2:
        raise BadDataset(
            f"every image of {source.root} is labelled '{next(iter(counts), '')}'", hint=_layout_hint(source)
        )


def _part(source: FolderSource, label: str, stem: str) -> str:
    if source.part_pattern is None:
        # Stems repeat between label folders (1.png, 2.png, ...), so the label belongs to the part's name.
        return stem if source.layout == "prefix" else f"{label}/{stem}"
    try:
        match = re.search(source.part_pattern, stem)
    except re.error as error:
        raise BadDataset(f"'{source.part_pattern}' is no regular expression: {error}") from error
    if match is None or not match.groups() or match.group(1) is None:
        raise BadDataset(
            f"'{source.part_pattern}' finds no part in '{stem}'", hint="its first group must match in every file's stem"
        )
    return str(match.group(1))


def _dotted(suffix: str) -> str:
    return "." + suffix.lower().lstrip(".")


def _layout_hint(source: FolderSource) -> str:
    if source.layout == "folders":
        return "layout 'folders' wants one folder a label; for LABEL_NUMBER.png in one folder use --layout prefix"
    return "layout 'prefix' wants LABEL_NUMBER.png in one folder; for one folder a label use --layout folders"
