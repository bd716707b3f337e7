"""200 loads of models, half of them failed ones: memory returns to where it was (triton-inference-server/server#5841)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

CHILD = Path(__file__).with_name("reloading_child.py")
ROOT = Path(__file__).parents[3]
MODEL_KIB = 2048


@pytest.mark.slow
@pytest.mark.parametrize(("door", "kind"), [("loader", "onnx"), ("loader", "tflite"), ("serving", "onnx")])
def test_memory_returns_to_where_it_was(tmp_path: Path, door: str, kind: str) -> None:
    if kind == "tflite":
        pytest.importorskip("ai_edge_litert")
    pytest.importorskip("flatbuffers")
    ran = subprocess.run(
        (sys.executable, str(CHILD), door, kind, str(tmp_path / "models"), "200"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    held = json.loads(ran.stdout.splitlines()[-1])
    print(door, kind, "KiB after each 20:", held)
    # The first loads bring the runtime in. After that the heap breathes by about a model; 140 that stayed would be 280 MiB.
    early, late = median(held[3:6]), median(held[-3:])
    assert late - early < 8 * MODEL_KIB, held
