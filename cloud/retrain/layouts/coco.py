"""Layout "coco": one JSON file of images, annotations and categories; boxes, polygons and uncompressed run lengths.

Several categories on an image are several labels. An image without annotation shows the background: a good part.
Source: cocodataset.org, "Data format", object detection.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from cloud.retrain.layouts.found import (
    Findings,
    FolderSource,
    Found,
    Polygon,
    Runs,
    Shape,
    check_exists,
    check_inside,
    finite,
    is_wanted,
    unique,
)
from contract.errors import BadDataset

ANNOTATIONS = "annotations.json"
# Tools round; a shape may stick out of its image by this many pixels.
_SLACK_PX = 2.0
_LARGEST_SIDE_PX = 100_000
T = TypeVar("T")


class CocoImage(msgspec.Struct, frozen=True):
    """An image of the file; sizes in pixels."""

    id: int
    file_name: str
    height: int = 0
    width: int = 0


class CocoCategory(msgspec.Struct, frozen=True):
    """A label."""

    id: int
    name: str


class CocoRuns(msgspec.Struct, frozen=True):
    """A mask; `counts` is text where it is compressed. `size` is (height, width)."""

    counts: list[int] | str
    size: tuple[int, int]


class CocoAnnotation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A category on an image. `bbox` is x, y, width, height in pixels."""

    id: int
    image_id: int
    category_id: int
    bbox: list[float] = []
    segmentation: list[list[float]] | CocoRuns | None = None
    area: float = 0.0
    iscrowd: int = 0


class CocoFile(msgspec.Struct, frozen=True):
    """The whole file."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


def find_coco(source: FolderSource) -> Findings:
    """Return the images of the annotation file; they lie in the root or in its folder images/.

    Raises:
        BadDataset: no file or several, one that is no COCO, an id that nothing has or two have, numbers that cannot be, a
            missing image.
    """
    file = _file(source.root)
    try:
        content = msgspec.json.decode(file.read_bytes(), type=CocoFile)
    except (msgspec.DecodeError, OSError, RecursionError) as error:
        raise BadDataset(
            f"{file} is no COCO file: {error}", hint="it holds images, annotations and categories"
        ) from error
    names = _by_id([(c.id, c.name) for c in content.categories], f"{file}: category")
    images = _by_id([(i.id, i) for i in content.images], f"{file}: image")
    marks: dict[int, list[CocoAnnotation]] = {}
    for mark in content.annotations:
        if mark.image_id not in images or mark.category_id not in names:
            what = f"image {mark.image_id}" if mark.image_id not in images else f"category {mark.category_id}"
            raise BadDataset(f"{file}: annotation {mark.id} is of {what}, which the file does not have")
        marks.setdefault(mark.image_id, []).append(mark)
    found: list[Found] = []
    missing: list[tuple[str, str]] = []
    for image in content.images:
        where = f"{file.name} image {image.id}"
        name = _place(source.root, image.file_name, where, missing)
        if not is_wanted(source, name):
            continue
        own = marks.get(image.id, [])
        shapes = tuple(s for mark in own for s in _shapes(mark, image, f"{file.name} annotation {mark.id}", source))
        labels = unique([names[mark.category_id] for mark in own]) or (source.background,)
        found.append(Found(name, labels, where, shapes=shapes))
    check_exists(source.root, missing)
    used = {mark.category_id for mark in content.annotations}
    unused = [names[i] for i in names if i not in used]
    words = f"nothing is marked {', '.join(repr(u) for u in unused[:3])}: the model will not know such a label"
    return Findings(tuple(found), (words,) if unused else ())


def write_coco(out: Path, content: CocoFile) -> None:
    """Write annotations.json under `out`."""
    (out / ANNOTATIONS).write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))


def _file(root: Path) -> Path:
    if (root / ANNOTATIONS).is_file():
        return root / ANNOTATIONS
    files = sorted(root.glob("*.json")) or sorted((root / "annotations").glob("*.json"))
    if len(files) != 1:
        raise BadDataset(
            f"{root} holds {len(files)} JSON files and no {ANNOTATIONS}", hint=f"name the annotation file {ANNOTATIONS}"
        )
    return files[0]


def _by_id(pairs: list[tuple[int, T]], what: str) -> dict[int, T]:
    table: dict[int, T] = {}
    for number, value in pairs:
        if number in table:
            raise BadDataset(f"{what} {number} is there twice")
        table[number] = value
    return table


def _place(root: Path, file_name: str, where: str, missing: list[tuple[str, str]]) -> str:
    name = check_inside(root, file_name, where)
    for candidate in (name, f"images/{name}"):
        if (root / candidate).is_file():
            return candidate
    missing.append((where, name))
    return name


def _shapes(mark: CocoAnnotation, image: CocoImage, where: str, source: FolderSource) -> list[Shape]:
    width, height = image.width or _LARGEST_SIDE_PX, image.height or _LARGEST_SIDE_PX
    if isinstance(mark.segmentation, CocoRuns):
        return _runs(mark.segmentation, where, source)
    if mark.segmentation:
        shapes: list[Shape] = []
        for values in mark.segmentation:
            if len(values) < 6 or len(values) % 2:
                raise BadDataset(
                    f"{where}: a polygon of {len(values)} numbers", hint="a polygon has an even count from 6"
                )
            x = [finite(v, where, "x", -_SLACK_PX, width + _SLACK_PX) for v in values[::2]]
            y = [finite(v, where, "y", -_SLACK_PX, height + _SLACK_PX) for v in values[1::2]]
            shapes.append(Polygon(tuple(zip(x, y, strict=True)), relative=False))
        return shapes
    if not mark.bbox:
        return []
    if len(mark.bbox) != 4:
        raise BadDataset(f"{where}: a box of {len(mark.bbox)} numbers", hint="a box is x, y, width, height")
    x0 = finite(mark.bbox[0], where, "x", -_SLACK_PX, width + _SLACK_PX)
    y0 = finite(mark.bbox[1], where, "y", -_SLACK_PX, height + _SLACK_PX)
    x1 = x0 + finite(mark.bbox[2], where, "width", 0, width + 2 * _SLACK_PX)
    y1 = y0 + finite(mark.bbox[3], where, "height", 0, height + 2 * _SLACK_PX)
    return [Polygon(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), relative=False)]


def _runs(runs: CocoRuns, where: str, source: FolderSource) -> list[Shape]:
    if isinstance(runs.counts, str):
        if source.draw_masks:
            raise BadDataset(f"{where}: its mask is compressed", hint="write polygons or uncompressed run lengths")
        return []
    height, width = runs.size
    sizes = 0 < height <= _LARGEST_SIDE_PX and 0 < width <= _LARGEST_SIDE_PX
    if not sizes or min(runs.counts, default=0) < 0 or sum(runs.counts) != height * width:
        raise BadDataset(f"{where}: its run lengths do not add up to {height} x {width}")
    return [Runs(tuple(runs.counts), height, width)]
