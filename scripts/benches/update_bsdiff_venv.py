"""The Python that runs bsdiff: this one when bsdiff4 is here, else one in a virtual environment of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

REQUIREMENT = "bsdiff4==1.3.2"
_VENV = Path(__file__).parents[2] / ".venv-peers" / "update"
_STAMP = _VENV / "plumbline.stamp"


def bsdiff_python(say: Callable[[str], None]) -> str | None:
    """Return the interpreter, installed when missing (100 KB); None when it cannot be, which is said."""
    if importlib.util.find_spec("bsdiff4") is not None:
        return sys.executable
    python = str(_VENV / "bin" / "python")
    if _STAMP.is_file() and _STAMP.read_text() == REQUIREMENT:
        return python
    say(f"installing {REQUIREMENT} into {_VENV}")
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", REQUIREMENT)
    for command in ((sys.executable, "-m", "venv", str(_VENV)), pip):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            say(f"bsdiff is left out: {errors[-1] if errors else 'see ' + ' '.join(command)}")
            return None
    _STAMP.write_text(REQUIREMENT)
    return python
