"""One step of a retrain as a process of its own: `plumbline-cloud STEP ... --json`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from contract.errors import RefusedError

# Training may use the whole machine, but the aggregator and its stations come first.
_NICE = 5


def run_step(step: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Return what `plumbline-cloud STEP ARGUMENTS --json` printed.

    Raises:
        RefusedError: it failed; the message is the step's own last line.
    """
    command = [sys.executable, "-m", "cloud", step, *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL, preexec_fn=_be_nice)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise RefusedError(f"'{step}' ended with code {done.returncode}: {said[-1]}")
    try:
        return msgspec.json.decode(done.stdout, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise RefusedError(f"'{step}' printed no JSON: {error}") from error


def _be_nice() -> None:
    os.nice(_NICE)
