"""The whole loop as a newcomer runs it: the demo's own promises are the assertions."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STEEL = Path(os.environ.get("PLUMBLINE_DATA", ROOT.parent / "shared")) / "data" / "neu"


def demo(*words: str) -> dict[str, Any]:
    done = subprocess.run([ROOT / "scripts" / "demo", *words, "--json"], capture_output=True, text=True, check=False)
    assert done.stdout, f"exit code {done.returncode}: {done.stderr[-3000:]}"
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["whole"] and done.returncode == 0, done.stderr[-3000:]
    return told


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_simulated_fleet_catches_a_silent_failure_and_mends_itself() -> None:
    told = demo()
    assert told["simulated"]
    assert [step["held"] for step in told["steps"]] == [True] * 9


@pytest.mark.long
@pytest.mark.realdata
@pytest.mark.timeout(900)
@pytest.mark.skipif(not STEEL.is_dir(), reason=f"no steel images in {STEEL}: set PLUMBLINE_DATA")
def test_the_loop_holds_on_real_steel_images_under_defocus() -> None:
    told = demo("--data", str(STEEL), "--layout", "prefix")
    assert told["before_acc"] < 0.5
    assert told["after_over_oracle"] >= 0.97
    assert told["labels"] <= 120
    assert (told["fp32_acc"] - told["int8_acc"]) * 100 <= 0.5
