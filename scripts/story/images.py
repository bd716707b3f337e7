"""Which images the demo trains on, shows to its stations, and keeps for the exam: three sets, split by image."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contract.errors import BadDataset
from scripts.story.processes import run_tool, tool

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True, slots=True)
class Pictures:
    """The demo's images.

    `data` with `layout` is what training reads, except the relative paths in `excluded`; `line` is a folder that the stations
    see, again and again; `exam` a folder nobody sees or labels before the accuracy is measured on it. `truth` gives the
    label of every image of `line` and `exam` by its path relative to them, and of `train` by its path relative to `data`.
    """

    data: Path
    layout: str
    excluded: Path
    line: Path
    exam: Path
    truth: Mapping[str, str]
    train: tuple[str, ...]
    simulated: bool


def label_of(relative: Path, layout: str) -> str:
    """Return the label that an image's place gives it: its topmost folder, or its stem up to the last "_"."""
    return (
        (relative.parts[0] if len(relative.parts) > 1 else "")
        if layout == "folders"
        else relative.stem.rpartition("_")[0]
    )


def real_pictures(data: Path, layout: str, work: Path, seed: int) -> Pictures:
    """Split a folder of labelled images: two thirds train; of the rest 40 % pass the stations and 60 % are the exam.

    Raises:
        BadDataset: there are no images, or too few of a label.
    """
    by_label: dict[str, list[str]] = defaultdict(list)
    for file in sorted(data.rglob("*")):
        if file.suffix.lower() in _SUFFIXES:
            relative = file.relative_to(data)
            by_label[label_of(relative, layout)].append(relative.as_posix())
    if not by_label or "" in by_label:
        raise BadDataset(f"{data} holds no images in layout '{layout}'", hint="see --layout in ./scripts/demo --help")
    few = [f"{label} ({len(names)})" for label, names in by_label.items() if len(names) < 15]
    if few:
        raise BadDataset(f"too few images of: {', '.join(few)}", hint="the demo needs at least 15 of each label")
    rng = random.Random(seed)
    train: list[str] = []
    line: list[str] = []
    exam: list[str] = []
    for names in by_label.values():
        rng.shuffle(names)
        cut = len(names) * 2 // 3
        shown = cut + round((len(names) - cut) * 0.4)
        train += names[:cut]
        line += names[cut:shown]
        exam += names[shown:]
    truth = {name: label for label, names in by_label.items() for name in names}
    excluded = work / "not-for-training.txt"
    excluded.write_text("".join(f"{name}\n" for name in sorted(line + exam)))
    _link(data, line, work / "line")
    _link(data, exam, work / "exam")
    return Pictures(data, layout, excluded, work / "line", work / "exam", truth, tuple(train), simulated=False)


def simulated_pictures(work: Path, seed: int) -> Pictures:
    """Make the three sets with the simulated station's generator: 1,200, 240 and 360 images."""
    truth: dict[str, str] = {}
    for name, count, offset in (("train", 1200, 0), ("line", 240, 1), ("exam", 360, 2)):
        folder = work / name
        command = [tool("plumbline-agent"), "simulate", "export", "--out", str(folder), "--count", str(count)]
        run_tool([*command, "--seed", str(seed + offset)])
        truth.update({f.relative_to(folder).as_posix(): f.parent.name for f in folder.rglob("*.png")})
    train = tuple(sorted(f.relative_to(work / "train").as_posix() for f in (work / "train").rglob("*.png")))
    excluded = work / "not-for-training.txt"
    excluded.write_text("")
    return Pictures(work / "train", "folders", excluded, work / "line", work / "exam", truth, train, simulated=True)


def _link(data: Path, names: Sequence[str], folder: Path) -> None:
    for name in names:
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((data / name).resolve())
