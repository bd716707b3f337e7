"""Layout "yolo": images/**/NAME.jpg, labels/**/NAME.txt, and the class names in data.yaml or classes.txt.

A line is "CLASS x y w h" (a box by its centre) or "CLASS x1 y1 x2 y2 x3 y3 ..." (a polygon), all in shares of the image's size.
An image without a label file, or with an empty one, shows the background: a good part.
Source: Ultralytics, "Object Detection Datasets Overview" and "Instance Segmentation Datasets Overview".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import yaml  # type: ignore[import-untyped]

from cloud.retrain.layouts.found import Findings, FolderSource, Found, Polygon, finite, is_wanted, read_text, unique
from contract.errors import BadDataset

# Tools round; a box may stick out of its image by this share.
_SLACK = 0.01
Box = tuple[str, tuple[float, float, float, float]]


def find_yolo(source: FolderSource) -> Findings:
    """Return the images and what their label files say.

    Raises:
        BadDataset: no images folder, no class names, or a line that is no box or polygon (its file and number are named).
    """
    images, labels = source.root / "images", source.root / "labels"
    if not images.is_dir():
        raise BadDataset(f"{images} is no folder", hint="layout 'yolo' wants images/, labels/ and data.yaml")
    names = _names(source.root)
    found: list[Found] = []
    used: set[str] = set()
    texts = {f.relative_to(labels).as_posix() for f in sorted(labels.rglob("*.txt"))} if labels.is_dir() else set()
    orphans = set(texts)
    for file in sorted(f for f in images.rglob("*") if f.is_file()):
        relative = file.relative_to(source.root).as_posix()
        text = PurePosixPath(file.relative_to(images).as_posix()).with_suffix(".txt").as_posix()
        orphans.discard(text)
        if not is_wanted(source, relative):
            continue
        drawn = _read_lines(labels / text, names) if text in texts else []
        marked = unique([name for name, _ in drawn])
        used.update(marked)
        shapes = tuple(shape for _, shape in drawn)
        found.append(Found(relative, marked or (source.background,), relative, shapes=shapes))
    warnings = []
    if unused := [name for name in names if name not in used]:
        warnings.append(
            f"nothing is marked {', '.join(repr(u) for u in unused[:3])}: the model will not know such a label"
        )
    orphans -= {"classes.txt"}
    if orphans:
        warnings.append(f"{len(orphans)} label files have no image, the first: labels/{min(orphans)}")
    return Findings(tuple(found), tuple(warnings))


def write_yolo(out: Path, names: list[str], boxes_of: Sequence[tuple[str, Sequence[Box]]]) -> None:
    """Write labels/ and data.yaml under `out`.

    Args:
        names: the classes, in order.
        boxes_of: for each image (relative to images/) its boxes: (class, (x, y, w, h) of 0..1 by the centre).
    """
    index = {name: i for i, name in enumerate(names)}
    for file, boxes in boxes_of:
        text = (out / "labels" / file).with_suffix(".txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{index[name]} " + " ".join(f"{v:.6f}" for v in box) + "\n" for name, box in boxes]
        text.write_text("".join(lines), "utf-8")
    content = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(names))}
    (out / "data.yaml").write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), "utf-8")


def _names(root: Path) -> list[str]:
    file = root / "data.yaml"
    if not file.is_file():
        lists = [f for f in (root / "classes.txt", root / "labels" / "classes.txt") if f.is_file()]
        if not lists:
            raise BadDataset(f"{root} holds neither data.yaml nor classes.txt", hint="name the classes, a line each")
        names: object = [line.strip() for line in read_text(lists[0], "").splitlines() if line.strip()]
        file = lists[0]
    else:
        try:
            # Every scalar as the text that is written: a class "no" is no False.
            content = yaml.load(read_text(file, ""), yaml.BaseLoader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise BadDataset(f"{file} is no YAML: {' '.join(str(error).split())[:120]}") from error
        names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and set(names) == {str(number) for number in range(len(names))}:
        names = [names[str(number)] for number in range(len(names))]
    # Aliases can nest a short file into terabytes of text: nothing but text is looked at.
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str) and name for name in names)
        or len(set(names)) != len(names)
    ):
        raise BadDataset(
            f"{file} names no classes, or one twice", hint="data.yaml wants names: [scratch, stain], by class number"
        )
    return list(names)


def _read_lines(file: Path, names: list[str]) -> list[tuple[str, Polygon]]:
    drawn = []
    for number, line in enumerate(read_text(file, "").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        where = f"{file} line {number}"
        if not words[0].isdecimal() or len(words[0]) > 9 or int(words[0]) >= len(names):
            raise BadDataset(
                f"{where}: '{words[0][:40]}' is no class", hint=f"classes are numbered 0 to {len(names) - 1}"
            )
        values = [finite(word, where, "coordinate", -_SLACK, 1 + _SLACK) for word in words[1:]]
        if len(values) == 4:
            x, y, w, h = values
            if w <= 0 or h <= 0:
                raise BadDataset(f"{where}: a box of {w:g} x {h:g} has no area")
            corners = ((x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2))
        elif len(values) >= 6 and len(values) % 2 == 0:
            corners = tuple(zip(values[::2], values[1::2], strict=True))  # type: ignore[assignment]
        else:
            raise BadDataset(
                f"{where} has {len(values)} numbers after its class", hint="a box has 4, a polygon an even count from 6"
            )
        drawn.append((names[int(words[0])], Polygon(corners, relative=True)))
    return drawn
