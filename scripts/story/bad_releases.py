"""Two releases that should never have been: one decides wrongly, one does not even load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def with_shuffled_labels(run: Path, out: Path) -> Path:
    """Return a copy of a run whose label list is rotated by one: a real mistake, and its golden test still passes."""
    shutil.copytree(run, out)
    file = out / "run.json"
    info = json.loads(file.read_text())
    info["labels"] = info["labels"][1:] + info["labels"][:1]
    file.write_text(json.dumps(info))
    return out


def with_torn_model(run: Path, out: Path) -> Path:
    """Return a copy of a run whose model file is half gone: signed and hashed in good order, and it crashes on load."""
    shutil.copytree(run, out)
    ships = out / json.loads((out / "quantize.json").read_text())["ships"]
    ships.write_bytes(ships.read_bytes()[: ships.stat().st_size // 2])
    return out
