"""A dataset to a folder that other tools read: folders, csv, yolo, coco or Label Studio's tasks. Images are copied, checked."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from cloud.retrain.images import load_image
from cloud.retrain.layouts.coco import CocoAnnotation, CocoCategory, CocoFile, CocoImage, CocoRuns, write_coco
from cloud.retrain.layouts.csv_table import write_csv
from cloud.retrain.layouts.labelstudio import write_labelstudio
from cloud.retrain.layouts.yolo import write_yolo
from cloud.retrain.masks import MaskFile, runs_of
from cloud.retrain.progress import OnProgress, Progress, ignore_progress
from cloud.retrain.run_records import DatasetEntry, DatasetManifest
from contract.errors import BadDataset, BadImage, InvalidConfig
from contract.manifest import LabelKind

_PROGRESS_EVERY = 500
# Names that tables, addresses and every file system take as they are.
_PLAIN = re.compile(r"\w[\w.()+-]*")
_FOLDER = re.compile(r'[^<>:"/\\|?*. ]([^<>:"/\\|?*]*[^<>:"/\\|?*. ])?')
_ODD = re.compile(r"[^\w.()+-]")


@dataclass(frozen=True, slots=True)
class _Image:
    """An image to write: its entry, a file name that no other has, and where it lies."""

    entry: DatasetEntry
    name: str
    path: Path
    mask: MaskFile | None

    def labels(self) -> tuple[str, ...]:
        """Every label."""
        return (self.entry.label, *self.entry.also)


def export_dataset(manifest: DatasetManifest, form: str, out: Path, on_progress: OnProgress = ignore_progress) -> int:
    """Write a dataset in another form; return the number of images.

    csv carries everything. folders carries one label an image, no more. yolo and coco carry labels and areas (a box; a mask's run
    lengths): an image without a mask is marked as a whole, and GOOD images are marked with nothing. labelstudio carries labels,
    labeller, time, part and split.

    Args:
        form: one of FORMATS.
        out: a folder that is empty or not there.
    Raises:
        InvalidConfig: no such form, or `out` holds something or cannot be written.
        BadDataset: an image is gone or has changed, or the form cannot say what the dataset says.
    """
    if form not in _WRITE:
        raise InvalidConfig(f"'{form}' is no format", hint=f"use {', '.join(FORMATS)}")
    images = _images(manifest)
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InvalidConfig(f"{out} is there and not empty", hint="name a new folder")
        out.mkdir(parents=True, exist_ok=True)
        # Half of the images, of a full disk or a killed process, would be taken for all of them.
        with tempfile.TemporaryDirectory(prefix=".half-", dir=out) as half:
            _WRITE[form](manifest, images, Path(half), on_progress)
            for made in sorted(Path(half).iterdir()):
                made.replace(out / made.name)
    except OSError as error:
        raise InvalidConfig(
            f"cannot write {error.filename or out}: {error.strerror}", hint="look at the disk"
        ) from error
    return len(images)


def _images(manifest: DatasetManifest) -> list[_Image]:
    names = Counter(PurePosixPath(e.file).name.lower() for e in manifest.entries)
    stems = Counter(PurePosixPath(e.file).stem.lower() for e in manifest.entries)
    images = []
    for entry in manifest.entries:
        file = PurePosixPath(entry.file)
        # yolo's label files, and masks, are named by the stem.
        plain = names[file.name.lower()] == 1 and stems[file.stem.lower()] == 1 and _PLAIN.fullmatch(file.name)
        name = file.name if plain else f"{_ODD.sub('_', file.stem)}-{entry.sha256[:12]}{file.suffix}"
        folder = Path(manifest.folders[entry.folder])
        mask = MaskFile(folder / entry.mask, entry.mask_sha256) if entry.mask else None
        images.append(_Image(entry, name, folder / entry.file, mask))
    return images


def _copy(images: list[_Image], out: Path, on_progress: OnProgress, place: Callable[[_Image], str]) -> None:
    for number, image in enumerate(images, 1):
        _copy_checked(image.path, image.entry.sha256, out / place(image))
        if number % _PROGRESS_EVERY == 0:
            on_progress(Progress("copy images", number, len(images), ""))


def _copy_checked(source: Path, sha256: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_file():
        raise BadDataset(f"there is no {source}", hint="the dataset needs it: put it back")
    shutil.copyfile(source, target)
    with target.open("rb") as handle:
        digest = hashlib.sha256(handle.read()).hexdigest()
    if digest != sha256:
        target.unlink()
        raise BadDataset(
            f"{source} has changed since the dataset was made", hint="put it back, or make the dataset again"
        )


def _size(image: _Image) -> tuple[int, int]:
    try:
        height, width = load_image(image.path).pixels.shape[:2]
    except BadImage as error:
        raise BadDataset(error.message, hint=error.hint) from error
    return int(height), int(width)


def _to_folders(manifest: DatasetManifest, images: list[_Image], out: Path, on_progress: OnProgress) -> None:
    for image in images:
        if image.entry.also:
            raise BadDataset(
                f"{image.entry.file} has several labels, which folders cannot say", hint="use --format csv or coco"
            )
    for label in manifest.labels:
        if not _is_folder(label.name) or sum(_folded(label.name) == _folded(each.name) for each in manifest.labels) > 1:
            raise BadDataset(f"'{label.name}' cannot be a folder's name", hint="use --format csv")
    _copy(images, out, on_progress, lambda image: f"{image.entry.label}/{image.name}")


def _is_folder(name: str) -> bool:
    """Return whether a label can be a folder's name here and on Windows, where the folder may be carried."""
    return (
        bool(_FOLDER.fullmatch(name))
        and name.isprintable()
        and len(name.encode()) <= 255
        and not PureWindowsPath(name).is_reserved()
    )


def _folded(name: str) -> str:
    """Return a name as file systems compare it that do not tell capitals from small letters."""
    return unicodedata.normalize("NFC", name).casefold()


def _to_csv(manifest: DatasetManifest, images: list[_Image], out: Path, on_progress: OnProgress) -> None:
    _copy(images, out, on_progress, lambda image: f"images/{image.name}")
    rows = []
    for image in images:
        mask = ""
        if image.mask is not None:
            mask = f"masks/{PurePosixPath(image.name).stem}{image.mask.path.suffix}"
            _copy_checked(image.mask.path, image.mask.sha256, out / mask)
        rows.append((f"images/{image.name}", mask, image.entry))
    write_csv(out, rows)


def _to_yolo(manifest: DatasetManifest, images: list[_Image], out: Path, on_progress: OnProgress) -> None:
    background = _background(manifest)
    names = [label.name for label in manifest.labels if label.name != background]
    _copy(images, out, on_progress, lambda image: f"images/{image.name}")
    boxes = []
    for image in images:
        box = (0.5, 0.5, 1.0, 1.0) if image.mask is None else _box(image.mask.load())
        boxes.append((image.name, [(name, box) for name in _marks(image, background)]))
    write_yolo(out, names, boxes)


def _to_coco(manifest: DatasetManifest, images: list[_Image], out: Path, on_progress: OnProgress) -> None:
    background = _background(manifest)
    names = [label.name for label in manifest.labels if label.name != background]
    number_of = {name: number for number, name in enumerate(names, 1)}
    _copy(images, out, on_progress, lambda image: f"images/{image.name}")
    pictures: list[CocoImage] = []
    marks: list[CocoAnnotation] = []
    for number, image in enumerate(images, 1):
        height, width = _size(image)
        pictures.append(CocoImage(number, f"images/{image.name}", height, width))
        for name in _marks(image, background):
            marks.append(_annotation(image, (len(marks) + 1, number, number_of[name]), height, width))
    write_coco(out, CocoFile(pictures, marks, [CocoCategory(number, name) for name, number in number_of.items()]))


def _annotation(image: _Image, ids: tuple[int, int, int], height: int, width: int) -> CocoAnnotation:
    if image.mask is None:
        box = [0.0, 0.0, float(width), float(height)]
        return CocoAnnotation(*ids, bbox=box, area=float(width * height))
    mask = image.mask.load()
    x, y, w, h = _box(mask)
    box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
    return CocoAnnotation(*ids, box, CocoRuns(runs_of(mask), (height, width)), float(mask.sum()), iscrowd=1)


def _to_labelstudio(manifest: DatasetManifest, images: list[_Image], out: Path, on_progress: OnProgress) -> None:
    _copy(images, out, on_progress, lambda image: f"images/{image.name}")
    names = [label.name for label in manifest.labels]
    write_labelstudio(out, names, [(f"images/{image.name}", image.entry) for image in images])


def _background(manifest: DatasetManifest) -> str:
    """Return the GOOD label that is shown by marking nothing: the first."""
    return next((label.name for label in manifest.labels if label.kind is LabelKind.GOOD), "")


def _marks(image: _Image, background: str) -> list[str]:
    marks = [name for name in image.labels() if name != background]
    if image.entry.also and len(marks) < len(image.labels()):
        raise BadDataset(
            f"{image.entry.file} is '{background}' and something else, which boxes cannot say", hint="use --format csv"
        )
    return marks


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return (x, y, w, h) of 0..1 by the centre of the area; the whole image where the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return 0.5, 0.5, 1.0, 1.0
    height, width = mask.shape
    top, bottom = rows[0] / height, (rows[-1] + 1) / height
    left, right = columns[0] / width, (columns[-1] + 1) / width
    return float(left + right) / 2, float(top + bottom) / 2, float(right - left), float(bottom - top)


_WRITE: dict[str, Callable[[DatasetManifest, list[_Image], Path, OnProgress], None]] = {
    "folders": _to_folders,
    "csv": _to_csv,
    "yolo": _to_yolo,
    "coco": _to_coco,
    "labelstudio": _to_labelstudio,
}
FORMATS = tuple(_WRITE)
