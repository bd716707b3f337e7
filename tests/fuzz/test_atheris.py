"""The laws of `fuzz_targets` under coverage-guided mutation, PLUMBLINE_FUZZ_S seconds (30) each; where atheris is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_targets import BROKEN, TARGETS

SECONDS = int(os.environ.get("PLUMBLINE_FUZZ_S", "30"))
RUN, ROOT = Path(__file__).with_name("run_atheris.py"), Path(__file__).parents[2]

targets = pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[pytest.mark.xfail()] if each in BROKEN else []) for each in TARGETS]
)


@pytest.mark.long
@pytest.mark.timeout(SECONDS * 4 + 300)
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
@targets
def test_no_input_that_atheris_finds_breaks_the_law(name: str, tmp_path: Path) -> None:
    options = (f"-max_total_time={SECONDS}", "-seed=1", f"-artifact_prefix={tmp_path}/", "-print_final_stats=1")
    done = subprocess.run(
        (sys.executable, str(RUN), name, str(tmp_path / "corpus"), *options),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = [path.read_bytes()[:400] for path in tmp_path.iterdir() if path.is_file()]
    assert done.returncode == 0, f"{found}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    tried = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    print(f"{name}: {' '.join(tried)}")
    assert tried, "it ran"
