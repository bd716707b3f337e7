"""A folder of labelled parts, as reviewers leave it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.cloud.retrain.pictures import picture


def write_reviewed_folder(folder: Path, labelled: Sequence[tuple[str, str]], first: int = 900) -> Path:
    """Write a picture and a line for each (label, part); pictures of the same `first` are the same."""
    folder.mkdir(parents=True)
    lines = []
    for number, (label, part) in enumerate(labelled):
        Image.fromarray(picture(label, first + number)).save(folder / f"{number}.png")
        lines.append(json.dumps({"file": f"{number}.png", "label": label, "part": part}))
    (folder / "labels.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder
