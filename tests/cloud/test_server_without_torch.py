"""The server trains in processes of their own: what they need is not in its memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAVY = ("torch", "matplotlib", "captum", "ray", "imagehash")


@pytest.mark.slow
def test_what_serves_loads_nothing_that_trains() -> None:
    code = (
        "import sys, cloud.wiring, cloud.improve_wiring, cloud.retrain.pipeline, cloud.retrain.release_run, cloud.store_wiring\n"
        f"print([name for name in {_HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
