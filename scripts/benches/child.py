"""A contender in a process of its own that prints its figures."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence

from contract.errors import RefusedError


def run_child(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> dict[str, float]:
    """Return the figures that `command` prints as its last line, a JSON object; its `first_at` becomes `start_s`.

    Raises:
        RefusedError: it failed, or printed none; the message is its last line.
    """
    started_at = time.time()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        said = done.stderr.strip().splitlines()
        raise RefusedError(f"'{' '.join(command[:3])}' failed: {said[-1] if said else 'it said nothing'}")
    figures: dict[str, float] = json.loads(lines[-1])
    if "first_at" in figures:
        figures["start_s"] = figures.pop("first_at") - started_at
    return figures
