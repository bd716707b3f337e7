"""What a layout finds: images by name, what is said of each, by whom and when; no pixels are read here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from cloud.retrain.images import IMAGE_SUFFIXES
from cloud.retrain.run_records import Split
from contract.errors import BadDataset, InvalidConfig

# 3000-01-01: a time beyond it is milliseconds taken for seconds, or nonsense.
LATEST_S = 32_503_680_000.0
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder of images and how to read it.

    `layout`: one of cloud.retrain.layouts.registry.LAYOUTS. `good`: labels that mean a good part, None to go by name. `suffix`:
    only files ending so. `exclude`: paths relative to `root` never to be read. `part_pattern`: a regular expression whose first
    group, found in the file's stem, names the part; None: the layout's own part, else the file without its ending.
    `skip_unreadable`: leave unreadable images out and count them, rather than refuse. `masks`: the ending of mask files beside
    images of the same stem. `draw_masks`: draw the layout's boxes and polygons as masks. `background`: the label of an image
    that yolo, coco or labelstudio marks nothing on.
    """

    root: Path
    layout: str = "folders"
    good: tuple[str, ...] | None = None
    suffix: str | None = None
    exclude: frozenset[str] = field(default_factory=frozenset)
    part_pattern: str | None = None
    skip_unreadable: bool = False
    masks: str | None = None
    draw_masks: bool = False
    background: str = "good"


@dataclass(frozen=True, slots=True)
class Polygon:
    """An area by its corners (x, y). `relative`: in shares of the image's width and height, else in pixels."""

    points: tuple[tuple[float, float], ...]
    relative: bool


@dataclass(frozen=True, slots=True)
class Runs:
    """An area as COCO's uncompressed run lengths: pixels off, on, off, ... down each column, first column first."""

    counts: tuple[int, ...]
    height: int
    width: int


Shape = Polygon | Runs


@dataclass(frozen=True, slots=True)
class Found:
    """One image and what is said of it. `file` is relative to the root; `labels` has no name twice and is never empty.

    `part`: "" where the layout has none. `where`: what an error message calls this statement, e.g. "labels.csv line 3".
    """

    file: str
    labels: tuple[str, ...]
    where: str
    part: str = ""
    labeller: str = ""
    labelled_at: float | None = None
    mask: str = ""
    shapes: tuple[Shape, ...] = ()
    split: Split | None = None
    source: str = ""
    audit: bool = False
    inclusion: float = 1.0


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a layout holds, in a fixed order. `one_label`: the layout cannot say two things of one image on purpose, so two
    are a slip to refuse, not two opinions."""

    found: tuple[Found, ...]
    warnings: tuple[str, ...] = ()
    one_label: bool = False


def is_wanted(source: FolderSource, file: str) -> bool:
    """Return whether a file, relative to the root, is an image that this source wants."""
    suffix = PurePosixPath(file).suffix.lower()
    wanted = suffix in IMAGE_SUFFIXES if source.suffix is None else suffix == dotted(source.suffix)
    return wanted and file not in source.exclude and not PurePosixPath(file).name.startswith(".")


def dotted(suffix: str) -> str:
    """Return a file's ending in lower case with its dot."""
    return "." + suffix.lower().lstrip(".")


def check_inside(root: Path, file: str, where: str, *, links: bool = False) -> str:
    """Return `file`, a name that a person or program wrote, as a plain path relative to `root`.

    `links`: one that leads out of the root by a link is taken, for somebody put it there who may write to the root.

    Raises:
        BadDataset: it is absolute, leads out of the root (by "..", or a link), or no file system would take it.
    """
    if (
        not file.isprintable()
        or any(len(part.encode()) > _LONGEST_NAME for part in file.split("/"))
        or len(file) > 2000
    ):
        raise BadDataset(f"{where}: {ascii(file)[:80]} is no file's name", hint="name files inside the folder")
    plain = PurePosixPath(file.replace("\\", "/"))
    outside = BadDataset(
        f"{where}: {file[:80]!r} lies outside {root}", hint="name files inside the folder, relative to it"
    )
    if not file or plain.is_absolute() or ".." in plain.parts or re.match(r"^[A-Za-z]:", file):
        raise outside
    if not links and not (root / plain).resolve().is_relative_to(root.resolve()):
        raise outside
    return plain.as_posix()


def check_exists(root: Path, missing: list[tuple[str, str]]) -> None:
    """Raise BadDataset naming the first three of the (where, file) that are not there, when there are any."""
    if not missing:
        return
    shown = "; ".join(f"{where}: there is no {file}" for where, file in missing[:3])
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    raise BadDataset(shown + more, hint=f"put the images under {root}, or take their lines out")


def unique(labels: list[str]) -> tuple[str, ...]:
    """Return the labels without repeats, in order."""
    return tuple(dict.fromkeys(labels))


def finite(value: object, where: str, what: str, least: float, most: float) -> float:
    """Return a number.

    Raises:
        BadDataset: it is none, is not finite, or lies outside `least`..`most`.
    """
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or not least <= number <= most:
        raise BadDataset(f"{where}: {what} {str(value)[:40]!r} is no number from {least:g} to {most:g}")
    return number


def read_time(value: str, where: str) -> float | None:
    """Return Unix seconds from seconds or ISO 8601 (UTC where it names no zone); None for "".

    Raises:
        BadDataset: it is neither, or no time from 1970 to 3000.
    """
    text = value.strip()
    if not text:
        return None
    if re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", text):
        return finite(text, where, "labelled_at", 0, LATEST_S)
    try:
        # Python 3.10 knows no "Z", and fractions of three or six digits only.
        plain = re.sub(r"\.(\d+)", lambda m: "." + m.group(1)[:6].ljust(6, "0"), re.sub("[zZ]$", "+00:00", text))
        moment = datetime.fromisoformat(plain)
    except ValueError as error:
        raise BadDataset(
            f"{where}: {text[:40]!r} is no time", hint="write Unix seconds or ISO 8601, e.g. 2026-03-01T08:30:00Z"
        ) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return finite(moment.timestamp(), where, "labelled_at", 0, LATEST_S)


def write_time(seconds: float) -> str:
    """Return Unix seconds as ISO 8601 in UTC, to the microsecond."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")


def read_text(file: Path, hint: str) -> str:
    """Return a text file.

    Raises:
        BadDataset: it is not there or is no UTF-8.
    """
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadDataset(f"{file} is no UTF-8 text: byte {error.start}", hint="save it as UTF-8") from error
    except OSError as error:
        raise BadDataset(f"cannot read {file}: {error.strerror}", hint=hint) from error


def read_exclude(file: Path) -> frozenset[str]:
    """Return the paths that a text file lists, a line each.

    Raises:
        InvalidConfig: it cannot be read.
    """
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(
            f"cannot read {file}: {getattr(error, 'strerror', None) or error}",
            hint="--exclude wants a text file of paths relative to the images' folder",
        ) from error
    return frozenset(line.strip() for line in lines if line.strip())
