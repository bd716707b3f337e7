"""Layout "labelstudio": Label Studio's JSON export, a list of tasks with annotations; and tasks that its import takes.

Choices, rectangles and polygons are read (brushes count as labels, without their area). Each annotation that was not cancelled
is one person's word: `completed_by` is the labeller, `updated_at` (else `created_at`) the time. An annotation that marks nothing
shows the background. A task without annotation is not labelled yet and is left out.
Source: labelstud.io/guide/export "Label Studio JSON format", /guide/tasks "Basic Label Studio JSON format".
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import msgspec

from cloud.retrain.layouts.found import (
    Findings,
    FolderSource,
    Found,
    Polygon,
    check_exists,
    check_inside,
    finite,
    is_wanted,
    read_time,
    unique,
    write_time,
)
from cloud.retrain.run_records import DatasetEntry, Split
from contract.errors import BadDataset

TASKS = "tasks.json"
SCREEN = "labelling.xml"
_SLACK_PERCENT = 1.0


class StudioPerson(msgspec.Struct, frozen=True):
    """Who annotated, where the export spells it out."""

    id: int = 0
    email: str = ""


class StudioValue(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was marked; numbers in percent of the image's size."""

    choices: list[str] = []
    rectanglelabels: list[str] = []
    polygonlabels: list[str] = []
    brushlabels: list[str] = []
    labels: list[str] = []
    points: list[list[float]] = []
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    rotation: float = 0.0


class StudioResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """One mark; `type` says which fields of its value count. `original_*` are the image's size in pixels."""

    type: str = ""
    value: StudioValue = StudioValue()
    from_name: str = ""
    to_name: str = ""
    original_width: int = 1
    original_height: int = 1


class StudioAnnotation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One person's word on a task."""

    result: list[StudioResult]
    completed_by: int | str | StudioPerson | None = None
    created_at: str = ""
    updated_at: str = ""
    was_cancelled: bool = False


class StudioTask(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image. `data` holds what the labelling screen shows, and whatever else rode along."""

    data: dict[str, object]
    annotations: list[StudioAnnotation] = []
    id: int = 0


def find_labelstudio(source: FolderSource) -> Findings:
    """Return the annotations of tasks.json, or of the only JSON file of the root; its images lie in the root or in images/.

    Raises:
        BadDataset: no such file, one that is no export, a task without image, numbers that cannot be, a missing image.
    """
    file = _file(source.root)
    try:
        tasks = msgspec.json.decode(file.read_bytes(), type=list[StudioTask])
    except (msgspec.DecodeError, OSError, RecursionError) as error:
        raise BadDataset(
            f"{file} is no export: {error}", hint="export from Label Studio as 'JSON', not 'JSON-MIN'"
        ) from error
    found: list[Found] = []
    missing: list[tuple[str, str]] = []
    waiting = 0
    for place, task in enumerate(tasks, 1):
        where = f"{file.name} task {task.id or place}"
        words = [a for a in task.annotations if not a.was_cancelled]
        if not words:
            waiting += 1
            continue
        name = _image(source.root, task, where, missing)
        if not is_wanted(source, name):
            continue
        found += [_found(source, task, word, name, where) for word in words]
    check_exists(source.root, missing)
    return Findings(tuple(found), (f"left out {waiting} tasks that nobody has labelled",) if waiting else ())


def write_labelstudio(out: Path, labels: Sequence[str], rows: Sequence[tuple[str, DatasetEntry]]) -> None:
    """Write tasks.json under `out` for (image relative to it, entry), and labelling.xml, the labelling screen that they fit.

    Images are named as Label Studio's local file storage serves them, which needs LOCAL_FILES_DOCUMENT_ROOT set to `out`. Who
    labelled and when ride in `data`: Label Studio refuses an import that names a person whom it does not know, and dates
    annotations itself.
    """
    tasks = []
    for file, e in rows:
        data: dict[str, object] = {
            "image": f"/data/local-files/?d={quote(file)}",
            "part": e.part,
            "split": e.split.value,
        }
        if e.labeller:
            data["labeller"] = e.labeller
        if e.labelled_at is not None:
            data["labelled_at"] = write_time(e.labelled_at)
        value = StudioValue(choices=[e.label, *e.also])
        tasks.append(StudioTask(data, [StudioAnnotation([StudioResult("choices", value, "label", "image")])]))
    choices = "".join(f"<Choice value={quoteattr(name)}/>" for name in labels)
    screen = f'<Choices name="label" toName="image" choice="multiple">{choices}</Choices>'
    (out / SCREEN).write_text(f'<View><Image name="image" value="$image"/>{screen}</View>\n', "utf-8")
    (out / TASKS).write_bytes(msgspec.json.format(msgspec.json.encode(tasks), indent=1))


def _file(root: Path) -> Path:
    files = [root / TASKS] if (root / TASKS).is_file() else sorted(root.glob("*.json"))
    if len(files) != 1:
        raise BadDataset(f"{root} holds {len(files)} JSON files and no {TASKS}", hint=f"name the export {TASKS}")
    return files[0]


def _image(root: Path, task: StudioTask, where: str, missing: list[tuple[str, str]]) -> str:
    value = task.data.get("image")
    if not isinstance(value, str) or not value:
        texts = [v for k, v in task.data.items() if isinstance(v, str) and k not in _RIDING]
        value = texts[0] if len(texts) == 1 else ""
    if not value:
        raise BadDataset(f"{where} names no image", hint="its data wants a field 'image'")
    try:
        address = urlsplit(value)
    except ValueError as error:
        raise BadDataset(f"{where}: '{value[:80]}' is no address: {error}") from error
    asked = parse_qs(address.query).get("d")
    served = value.startswith(("/data/", "http:", "https:", "s3:", "gs:", "azure-blob:"))
    path = asked[0] if asked else unquote(address.path).lstrip("/") if served else value
    name = check_inside(root, path, where)
    last = PurePosixPath(name).name
    # An uploaded file's name is given eight hexadecimal digits in front.
    bare = re.sub(r"^[0-9a-f]{8}-", "", last)
    for candidate in dict.fromkeys((name, f"images/{name}", last, f"images/{last}", bare, f"images/{bare}")):
        if (root / candidate).is_file():
            return candidate
    missing.append((where, name))
    return name


_RIDING = ("part", "split", "labeller", "labelled_at")


def _found(source: FolderSource, task: StudioTask, word: StudioAnnotation, name: str, where: str) -> Found:
    labels: list[str] = []
    shapes: list[Polygon] = []
    for result in word.result:
        value = result.value
        labels += [*value.choices, *value.rectanglelabels, *value.polygonlabels, *value.brushlabels, *value.labels]
        shapes += _shapes(result, where)
    part, split, labeller, at = (str(task.data.get(key) or "") for key in _RIDING)
    if word.completed_by is not None:
        person = word.completed_by
        labeller = (person.email or str(person.id)) if isinstance(person, StudioPerson) else str(person)
    known = Split(split) if split in {s.value for s in Split} else None
    return Found(
        name,
        unique(labels) or (source.background,),
        where,
        part,
        labeller,
        read_time(word.updated_at or word.created_at or at, where),
        shapes=tuple(shapes),
        split=known,
    )


def _shapes(result: StudioResult, where: str) -> list[Polygon]:
    value = result.value
    if result.type.startswith("polygon"):
        if len(value.points) < 3 or any(len(point) != 2 for point in value.points):
            raise BadDataset(
                f"{where}: a polygon of {len(value.points)} points", hint="a polygon has 3 points (x, y) or more"
            )
        return [Polygon(tuple((_share(x, where), _share(y, where)) for x, y in value.points), relative=True)]
    if result.type.startswith("rectangle"):
        return [Polygon(_corners(result, where), relative=True)]
    return []


def _corners(result: StudioResult, where: str) -> tuple[tuple[float, float], ...]:
    """Return a rectangle's corners; it is turned clockwise about its first one, in pixels rather than in percent."""
    value = result.value
    turn = math.radians(finite(value.rotation, where, "rotation", -360, 360))
    aspect = max(result.original_width, 1) / max(result.original_height, 1)
    corners = []
    for right, down in ((0.0, 0.0), (value.width, 0.0), (value.width, value.height), (0.0, value.height)):
        x = value.x + right * math.cos(turn) - down / aspect * math.sin(turn)
        y = value.y + right * aspect * math.sin(turn) + down * math.cos(turn)
        # The middle of a turned rectangle lies in the image, its corners need not.
        slack = _SLACK_PERCENT if turn == 0 else 100.0
        corners.append(
            (finite(x, where, "x", -slack, 100 + slack) / 100, finite(y, where, "y", -slack, 100 + slack) / 100)
        )
    return tuple(corners)


def _share(percent: float, where: str) -> float:
    return finite(percent, where, "percentage", -_SLACK_PERCENT, 100 + _SLACK_PERCENT) / 100
