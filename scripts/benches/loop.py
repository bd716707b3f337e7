"""The whole loop on the steel images under defocus: the demo, its figures as `loop.*`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from contract.errors import NotFound, RefusedError

_KEYS = ("before_acc", "after_acc", "oracle_acc", "after_over_oracle", "labels", "minutes")


def steel_images() -> Path:
    """Return the folder of the steel images, below PLUMBLINE_DATA, else ../shared.

    Raises:
        NotFound: they are not there.
    """
    shared = Path(os.environ.get("PLUMBLINE_DATA", Path(__file__).parents[2].parent / "shared"))
    folder = shared / "data" / "neu"
    if not folder.is_dir():
        raise NotFound(f"no steel images in {folder}", hint="set PLUMBLINE_DATA to the folder that holds data/neu")
    return folder


def measure() -> dict[str, float]:
    """Run the demo and return its figures.

    Raises:
        RefusedError: the demo did not come to its end.
    """
    command = [sys.executable, "-m", "scripts.story", "--data", str(steel_images()), "--layout", "prefix", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    try:
        told = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise RefusedError(f"the demo ended with code {done.returncode} and no figures") from error
    if not told["whole"]:
        failed = [step["title"] for step in told["steps"] if not step["held"]]
        raise RefusedError(f"the demo did not hold: {', '.join(failed)}")
    return {f"loop.{key}": float(told[key]) for key in _KEYS}
