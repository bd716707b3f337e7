"""`./scripts/bench ingest`: every figure that the budget names, from real brokers, workers and databases."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.benches.budget import TARGETS
from scripts.benches.ingest import CONTENDERS, ENGINES, run_once, table

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("contender", ["ceiling", "worker"])
def test_a_contender_stores_what_is_published_and_its_use_of_the_machine_is_read(contender: str) -> None:
    # 80 summaries: `run_once` raises when one is missing or stored twice.
    speed = run_once(contender, lambda folder: f"sqlite:///{folder}/bench.db", 2)
    assert speed.per_s > 0 and speed.cpu_s_per_1000 > 0


def test_the_table_has_every_target_and_every_contender() -> None:
    figures = {key: 1.0 for key in TARGETS if key.startswith("ingest.")}
    for engine in ENGINES:
        for contender in CONTENDERS:
            for what in ("per_s", "cpu_s_per_1000"):
                figures[f"ingest.{engine}.{contender.replace(' ', '_')}.{what}"] = 2.0
    shown = table(figures | {"ingest.fleet.lost": 0.0})
    assert "ingest.ceiling_ratio" in shown and ">= 0.7" in shown and "NOT HELD" in shown
    for engine in ENGINES:
        for contender in CONTENDERS:
            assert any(
                line.split() == [engine, *contender.split(), "2", "1.00", "2.000"] for line in shown.splitlines()
            )


@pytest.mark.long
def test_quick_measures_every_figure_of_the_budget() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "scripts.benches", "ingest", "--quick", "--json"),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode in (0, 3), done.stderr
    figures: dict[str, float] = json.loads(done.stdout)
    assert all(math.isfinite(figure) for figure in figures.values())
    assert {key for key in TARGETS if key.startswith("ingest.")} <= figures.keys()
    assert figures["ingest.lost"] == figures["ingest.double"] == 0
    for engine in ENGINES:
        for contender in CONTENDERS:
            assert figures[f"ingest.{engine}.{contender.replace(' ', '_')}.per_s"] > 0
