"""`./scripts/bench agent --quick`: a real station and a real bare loop; every figure is there and sane, whatever the speed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from agent.settings_keys import WindowSettings
from scripts.benches.agent import table

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
CONTENDERS = ("bare", "agent", *(("no_sketches",) if "sketch" in WindowSettings.__struct_fields__ else ()))


@pytest.fixture(scope="module")
def figures() -> dict[str, float]:
    done = subprocess.run(
        (sys.executable, "-m", "scripts.benches", "agent", "--quick", "--json"),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode in (0, 3), done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found


def test_every_budget_of_the_agent_is_measured(figures: dict[str, float]) -> None:
    assert all(math.isfinite(figure) for figure in figures.values())
    for key in ("fps_ratio_bare", "fps_ratio_bare_worst", "start_s", "restart_s", "rss_extra_mb"):
        assert figures[f"agent.{key}"] > 0
    assert figures["agent.fps_ratio_bare_worst"] <= figures["agent.fps_ratio_bare"]
    assert "agent.overhead_us" in figures and "agent.kib_per_1000" in figures


@pytest.mark.parametrize("case", ["camera", "small"])
def test_every_contender_has_its_line(figures: dict[str, float], case: str) -> None:
    for contender in CONTENDERS:
        of = {
            what: figures[f"agent.{case}.{contender}.{what}"]
            for what in ("fps", "p50_ms", "p99_ms", "cpu_us", "rss_mb")
        }
        assert min(of.values()) > 0
        assert of["p50_ms"] <= of["p99_ms"]
    # Python with ONNX Runtime is tens of megabytes, and the station is that and more.
    assert 20 < figures[f"agent.{case}.session.rss_mb"] < figures[f"agent.{case}.agent.rss_mb"] < 1_000


def test_the_table_has_one_line_for_each_case_and_contender(figures: dict[str, float]) -> None:
    head, _, detail = table(figures).partition("\n\n")
    assert "agent.fps_ratio_bare " in head and ">= 1.3" in head
    assert {("camera", name) for name in CONTENDERS} < {tuple(line.split()[:2]) for line in detail.splitlines()}


def test_its_options_are_for_the_agent_only() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "scripts.benches", "sketch", "--quick"),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert "are for 'agent'" in done.stderr
