"""bsdiff, in a process of its own with the standard library and bsdiff4: `update_bsdiff.py make|apply BASE NEW PATCH`.

`make` writes PATCH, `apply` writes NEW. Prints seconds and memory.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from scripts.benches.peak_memory import measured


def _work(what: str, base: str, new: str, patch: str) -> None:
    bsdiff4 = import_module("bsdiff4")  # it brings no types, and is not there where this is checked
    if what == "make":
        bsdiff4.file_diff(base, new, patch)
    else:
        bsdiff4.file_patch(base, new, patch)


if __name__ == "__main__":
    print(json.dumps(measured(lambda: _work(*sys.argv[1:5]))))
