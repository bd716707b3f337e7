"""`./scripts/bench fallback`: the real server under more than it can take, and every figure that the budget names."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from scripts.benches.budget import TARGETS
from scripts.benches.fallback import CONTENDERS, LEVELS, WITHIN_MS, Sizes, make_plant, one_round, served, table


def test_the_table_has_every_target_and_every_level() -> None:
    figures = {key: 0.5 for key in TARGETS if key.startswith("fallback.")}
    for contender in CONTENDERS:
        figures[f"fallback.{contender}.capacity_per_s"] = 70.0
        for level in LEVELS:
            for what in ("goodput", "answered_p50_ms", "answered_p99_ms", "refused_p99_ms", "late_share"):
                figures[f"fallback.{contender}.{level}x.{what}"] = 2.0
    shown = table(figures)
    assert "fallback.goodput_4x" in shown and "NOT HELD" in shown
    for contender in CONTENDERS:
        for level in LEVELS:
            assert any(line.split()[:2] == [contender, f"{level}x"] for line in shown.splitlines())


@pytest.mark.long
def test_at_four_times_its_capacity_the_server_answers_in_time_what_it_does_not_refuse(tmp_path: Path) -> None:
    # On a machine that does nothing else; the bench has the figures.
    plant = make_plant(tmp_path, 1.0)
    with served("own", plant):
        figures = one_round("own", plant, Sizes(3.0, 8.0, 1, 1.0))
    assert all(math.isfinite(figure) for figure in figures.values())
    assert figures["4x.answered_p99_ms"] <= WITHIN_MS
    assert figures["4x.refused_p99_ms"] < figures["4x.answered_p99_ms"]
    assert figures["4x.goodput"] >= 0.8
