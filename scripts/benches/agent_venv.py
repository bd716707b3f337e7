"""The environment that a station has, `[agent]` and nothing else: the tests' own loads packages that no device has (boto3, say)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path

import msgspec

from contract.errors import RefusedError

_ROOT = Path(__file__).parents[2]
_VENV = _ROOT / ".venv-peers" / "agent"
_STAMP = _VENV / "plumbline.stamp"


@cache
def station_python(say: Callable[[str], None]) -> str:
    """Return its Python, having made it if it is not there or was made for other pins: 180 MB, half a minute.

    It holds what the project's `[agent]` needs, not the project: its processes run in the checkout and import that.

    Raises:
        RefusedError: it cannot be installed; the message is pip's last line.
    """
    python, constraints = _VENV / "bin" / "python", _ROOT / "constraints.txt"
    project = msgspec.toml.decode((_ROOT / "pyproject.toml").read_bytes())["project"]
    needs = [*project["dependencies"], *project["optional-dependencies"]["agent"]]
    want = sha256("\n".join([*needs, sys.version, constraints.read_text()]).encode()).hexdigest()
    if _STAMP.is_file() and _STAMP.read_text() == want:
        return str(python)
    say(f"installing what a station has into {_VENV}")
    pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(constraints))
    for command in ((sys.executable, "-m", "venv", "--clear", str(_VENV)), (*pip, *needs)):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise RefusedError(f"the station's environment cannot be installed: {errors[-1] if errors else command[1]}")
    _STAMP.write_text(want)
    return str(python)
