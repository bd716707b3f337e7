"""A folder of labelled images to a dataset: pixels beside a manifest of content hashes (DESIGN 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import msgspec

from cloud.retrain.disagreements import Disagreement, disagreement_warning
from cloud.retrain.images import load_image
from cloud.retrain.labelled_images import LabelledImage, LabelledImages, load_images
from cloud.retrain.labels import make_labels, no_good_warning
from cloud.retrain.layouts.found import FolderSource
from cloud.retrain.layouts.registry import LAYOUTS, find_images, layout_hint
from cloud.retrain.masks import MaskFile
from cloud.retrain.near_duplicates import find_alike, group_alike
from cloud.retrain.progress import OnProgress, ignore_progress
from cloud.retrain.run_records import DatasetEntry, DatasetManifest, Split
from cloud.retrain.samples import HELD_BYTES, PixelStore, Sample
from cloud.retrain.splits import given_splits, rarest_label_of, split_parts, strictest_splits
from contract.errors import BadDataset, BadImage
from contract.manifest import Label, LabelKind

__all__ = (
    "BASE_SOURCE",
    "LAYOUTS",
    "Dataset",
    "FolderSource",
    "NearDuplicates",
    "Sample",
    "join",
    "read_dataset",
    "reload_dataset",
)
BASE_SOURCE = "base"
MIN_IMAGES_PER_LABEL = 4
_NAMED = 3
_MARKED_LAYOUTS = ("yolo", "coco", "labelstudio")


class NearDuplicates(str, Enum):
    """What is done about images that look alike: WARN of those in two splits, GROUP them into one split, or OFF."""

    WARN = "warn"
    GROUP = "group"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled images. `folders` are where the entries' files lie; `warnings` are for a person to read.

    `disagreements`: images left out because people named them differently.
    """

    labels: tuple[Label, ...]
    folders: tuple[Path, ...]
    samples: tuple[Sample, ...]
    warnings: tuple[str, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()

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
        return 1 if all(len(s.shape) == 2 for s in self.samples) else 3


def read_dataset(
    source: FolderSource,
    *,
    holdout_share: float = 1 / 3,
    calibration_share: float = 0.1,
    seed: int = 0,
    known_splits: dict[str, Split] | None = None,
    near: NearDuplicates = NearDuplicates.WARN,
    held_bytes: int = HELD_BYTES,
    on_progress: OnProgress = ignore_progress,
) -> Dataset:
    """Return the images of a folder, split by part.

    Args:
        source: the folder.
        holdout_share, calibration_share: how much of each label is kept for the gate, and for quantization and thresholds.
        seed: another seed gives another split.
        known_splits: splits by content hash that hold whatever the seed or a table says, so that a parent's holdout is never
            learnt from.
        near: what is done about images that look alike.
        held_bytes: pixels kept in memory; the rest is read again when it is asked for.
    Raises:
        BadDataset: no such folder, no images, fewer than 4 of a label, unreadable ones (named), one image under two labels, or
            a layout that does not fit.
    """
    if holdout_share < 0 or calibration_share < 0 or not holdout_share + calibration_share < 1:
        raise BadDataset(
            f"a holdout of {holdout_share:g} and a calibration share of {calibration_share:g} leave nothing to train on",
            hint="let the two shares sum to less than 1",
        )
    findings = find_images(source)
    looks = near is not NearDuplicates.OFF
    loaded = load_images(source, findings, held_bytes=held_bytes, looks=looks, on_progress=on_progress)
    images = loaded.images
    _check_counts(images, source)
    shares = ((Split.HOLDOUT, holdout_share), (Split.CALIBRATION, calibration_share))
    splits = _split(images, _units(images, near), shares, seed, known_splits or {})
    background = source.background if source.layout in _MARKED_LAYOUTS else None
    labels = make_labels(sorted({name for i in images for name in i.found.labels}), source.good, background)
    samples = tuple(_sample(i, split, labels) for i, split in zip(images, splits, strict=True))
    alike = near_duplicate_warnings([s.entry for s in samples]) if looks else ()
    warnings = (*_warnings(loaded, labels), *alike)
    return Dataset(labels, (source.root.resolve(),), samples, warnings, loaded.disagreements)


def reload_dataset(
    manifest: DatasetManifest,
    labels: tuple[Label, ...],
    wanted: Callable[[DatasetEntry], bool] = lambda _: True,
    held_bytes: int = HELD_BYTES,
) -> Dataset:
    """Return the images that a run was made of, checked against their hashes.

    Raises:
        BadDataset: an image is gone or has changed.
    """
    folders = tuple(Path(f) for f in manifest.folders)
    store = PixelStore(held_bytes)
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
        mask = MaskFile(folders[entry.folder] / entry.mask, entry.mask_sha256) if entry.mask else None
        samples.append(Sample(store.keep(file, image.sha256, image.pixels), entry, mask))
    return Dataset(labels, folders, tuple(samples), manifest.warnings)


def join(first: Dataset, second: Dataset, labels: tuple[Label, ...]) -> Dataset:
    """Return both datasets as one, with the given labels."""
    offset = len(first.folders)
    moved = tuple(
        Sample(s.image, msgspec.structs.replace(s.entry, folder=s.entry.folder + offset), s.mask)
        for s in second.samples
    )
    warnings = tuple(dict.fromkeys((*first.warnings, *second.warnings)))
    disagreements = first.disagreements + second.disagreements
    return Dataset(labels, first.folders + second.folders, first.samples + moved, warnings, disagreements)


def near_duplicate_warnings(entries: Sequence[DatasetEntry]) -> tuple[str, ...]:
    """Return what to tell a person of images in two splits that look alike, and of those that cannot be compared."""
    places = list(Split)
    pairs = find_alike([e.look for e in entries], [places.index(e.split) for e in entries])
    warnings = []
    if pairs.count:
        shown = "; ".join(
            f"{entries[a].file} ({entries[a].split.value}) and {entries[b].file} ({entries[b].split.value}) look alike"
            for a, b in pairs.first
        )
        more = f" and {pairs.count - len(pairs.first)} more pairs" if pairs.count > len(pairs.first) else ""
        warnings.append(
            f"{pairs.count} pairs of images in two splits: {shown}{more}; "
            "'dataset make --near-duplicates group' keeps them together"
        )
    if flat := [e.file for e in entries if not e.look]:
        warnings.append(
            f"{len(flat)} images are of one grey level and were not compared with others, the first: {flat[0]}"
        )
    return tuple(warnings)


def _units(images: Sequence[LabelledImage], near: NearDuplicates) -> list[str]:
    """Return what each image is split by: its part, or the first part of all that look like it."""
    parts = [i.found.part for i in images]
    if near is not NearDuplicates.GROUP:
        return parts
    number = {part: n for n, part in enumerate(dict.fromkeys(parts))}
    groups = group_alike([i.look for i in images], [number[part] for part in parts])
    first: dict[int, str] = {}
    return [first.setdefault(int(group), part) for group, part in zip(groups, parts, strict=True)]


def _split(
    images: Sequence[LabelledImage],
    units: Sequence[str],
    shares: Sequence[tuple[Split, float]],
    seed: int,
    known: dict[str, Split],
) -> list[Split]:
    stratum = rarest_label_of([(unit, i.found.labels) for unit, i in zip(units, images, strict=True)])
    given = given_splits([(i.found.part, i.found.split) for i in images])
    earlier = strictest_splits([(i.found.part, known.get(i.sha256)) for i in images])
    # A part that a person or an earlier dataset placed pulls along those that look like it, but not those that are placed too.
    pulled = strictest_splits(
        [(unit, earlier.get(i.found.part, given.get(i.found.part))) for unit, i in zip(units, images, strict=True)]
    )
    splits = {**split_parts(stratum, shares, Split.TRAIN, seed), **pulled}
    return [
        earlier.get(i.found.part, given.get(i.found.part, splits[unit])) for unit, i in zip(units, images, strict=True)
    ]


def _sample(image: LabelledImage, split: Split, labels: Sequence[Label]) -> Sample:
    found = image.found
    good = {label.name for label in labels if label.kind is LabelKind.GOOD}
    # What is wrong with a part comes before what is right with it.
    first, *also = sorted(found.labels, key=lambda name: name in good)
    entry = DatasetEntry(
        file=found.file,
        folder=0,
        sha256=image.sha256,
        label=first,
        labeller=found.labeller,
        source=found.source or BASE_SOURCE,
        split=split,
        part=found.part,
        audit=found.audit,
        inclusion=found.inclusion,
        also=tuple(also),
        labelled_at=found.labelled_at,
        mask=image.mask_file,
        mask_sha256=image.mask.sha256 if image.mask else "",
        look=image.look,
    )
    return Sample(image.image, entry, image.mask)


def _warnings(loaded: LabelledImages, labels: Sequence[Label]) -> tuple[str, ...]:
    further = (no_good_warning(labels), disagreement_warning(loaded.disagreements))
    return (*loaded.warnings, *(warning for warning in further if warning))


def _check_counts(images: Sequence[LabelledImage], source: FolderSource) -> None:
    counts: dict[str, int] = {}
    for image in images:
        for label in image.found.labels:
            counts[label] = counts.get(label, 0) + 1
    few = {label: n for label, n in counts.items() if n < MIN_IMAGES_PER_LABEL}
    if few:
        shown = ", ".join(f"'{label}' ({n})" for label, n in sorted(few.items())[:_NAMED])
        more = f" and {len(few) - _NAMED} more labels" if len(few) > _NAMED else ""
        raise BadDataset(
            f"fewer than {MIN_IMAGES_PER_LABEL} images of {shown}{more}",
            hint="add images; " + layout_hint(source.layout),
        )
    if len(counts) < 2:
        raise BadDataset(
            f"every image of {source.root} is labelled '{next(iter(counts), '')}'", hint=layout_hint(source.layout)
        )
