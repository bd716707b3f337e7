"""The peers of `bench drift` that are packages: River, whylogs and datasketches, in a virtual environment of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contract.errors import RefusedError

# whylogs needs numpy 1, and 0.23.0 is the last River that runs on it.
REQUIREMENTS = ("river==0.23.0", "whylogs==1.6.4", "datasketches==5.2.0", "numpy==1.26.4")
# Below the venv of the agent's peer, which pip leaves alone, so that one line of .gitignore covers both.
_VENV = Path(__file__).parents[2] / ".venv-peers" / "drift"
_STAMP = _VENV / "plumbline.stamp"


def peers_installed() -> bool:
    """Return whether these versions of the peers are there."""
    return _STAMP.is_file() and _STAMP.read_text() == "\n".join(REQUIREMENTS)


def install_drift_peers(say: Callable[[str], None]) -> None:
    """Make `.venv-peers/drift` if it is not there or was made for other versions: 300 MB, a minute or two.

    Raises:
        RefusedError: it cannot be installed; the message is pip's last line.
    """
    if peers_installed():
        return
    say(f"installing {', '.join(REQUIREMENTS)} into {_VENV}")
    pip = (str(_VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    for command in ((sys.executable, "-m", "venv", str(_VENV)), (*pip, *REQUIREMENTS)):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise RefusedError(
                f"the drift peers cannot be installed: {errors[-1] if errors else 'see ' + ' '.join(command)}",
                hint="leave out --peers",
            )
    _STAMP.write_text("\n".join(REQUIREMENTS))


def ask_peer(script: str, question: object) -> Any:
    """Return what `script` of this folder, run by the peers' Python with `question` as JSON on stdin, prints as JSON.

    Raises:
        RefusedError: it failed; the message is its last line.
    """
    command = (str(_VENV / "bin" / "python"), str(Path(__file__).with_name(script)))
    done = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise RefusedError(f"'{script}' failed: {said[-1] if said else 'it said nothing'}")
    return json.loads(done.stdout.splitlines()[-1])
