"""`./scripts/bench update` compares ways that all give the new bundle, on a pair small enough for a test."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.benches.budget import TARGETS
from scripts.benches.update import compare, table
from scripts.benches.update_pair import Pair
from tests.delta_bundles import archive_of, fine_tuned, model_of, weights

_WAYS = ("full", "delta", "zstd")


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    folder, rng = tmp_path_factory.mktemp("pair"), np.random.default_rng(1)
    old, golden = weights(rng), rng.bytes(300_000)
    for number, arrays in enumerate((old, fine_tuned(rng, old)), 1):
        archive = archive_of({"m.onnx": model_of(arrays), "golden.npz": golden}, version=str(number))
        (folder / f"{number}.plb").write_bytes(archive)
    return compare(Pair("steel", "made here", folder / "1.plb", folder / "2.plb"), None, 1)


def test_each_way_has_its_size_seconds_and_memory(figures: dict[str, float]) -> None:
    for way in _WAYS:
        of = {what: figures[f"delta.steel.{way}.{what}"] for what in ("bytes", "ratio", "apply_s", "apply_mib")}
        assert of["bytes"] > 0 and of["apply_s"] > 0 and 0 <= of["apply_mib"] < 64
    assert figures["delta.steel.full.ratio"] == 1.0
    assert figures["delta.steel.delta.bytes"] < figures["delta.steel.zstd.bytes"] < figures["delta.steel.full.bytes"]
    # The golden file is the same in both, so the model alone saves less.
    assert figures["delta.steel.delta.ratio"] < figures["delta.steel.model_ratio"] < 0.5


def test_applying_keeps_its_memory_budget(figures: dict[str, float]) -> None:
    assert TARGETS["delta.apply_mib"].holds(figures["delta.steel.delta.apply_mib"])


def test_the_table_has_a_line_for_each_way(figures: dict[str, float]) -> None:
    shown = table({"delta.ratio": figures["delta.steel.delta.ratio"], **figures})
    assert "delta.ratio " in shown and "<= 0.25" in shown
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("steel ")] == list(_WAYS)
