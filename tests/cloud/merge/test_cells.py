"""Windows summed by station, identity and period, and over a fleet."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cloud.merge.cells import cell_of, merge_cells
from cloud.merge.fleet import fleet_outputs, merge_by_identity
from contract.sketches.moments import N_STATISTICS
from contract.sketches.window import SketchIdentity, Window, empty_window, sums_size


def _window(seed: int, reference: str = "r", artefact: str = "a", labels: int = 4) -> Window:
    blank = empty_window(SketchIdentity(1, 7, reference, artefact, labels))
    rng = np.random.Generator(np.random.PCG64(seed))
    low, high = np.sort(rng.integers(-9, 9, (2, N_STATISTICS)), axis=0)
    registers = rng.integers(0, 5, 256).astype(np.uint8)
    return Window(blank.identity, 10, rng.integers(0, 9, sums_size(labels)), low, high, registers)


def test_cells_sum_the_same_in_any_order() -> None:
    windows = [
        (cell_of(station, window, at, 300.0), window)
        for station in ("s1", "s2")
        for at in (0.0, 299.0, 300.0, 601.0)
        for window in (_window(int(at)), _window(int(at) + 1, artefact="b"))
    ]
    cells = merge_cells(windows)
    random.Random(3).shuffle(windows)
    assert merge_cells(windows) == cells
    assert len(cells) == 2 * 3 * 2
    assert sum(window.frames for window in cells.values()) == 160


def test_a_clock_that_says_nonsense_still_has_a_cell() -> None:
    assert cell_of("s1", _window(1), float("nan"), 60.0).period == 0
    assert cell_of("s1", _window(1), float("inf"), 60.0).period == 0


def test_a_fleet_sums_whole_windows_of_one_identity_and_outputs_of_one_model() -> None:
    windows = [_window(1, "r1"), _window(2, "r1"), _window(3, "r2"), _window(4, "r2", "b")]
    assert sorted(window.frames for window in merge_by_identity(windows).values()) == [10, 10, 20]
    outputs = fleet_outputs(windows)
    assert outputs["a", 4].frames == 30
    assert outputs["a", 4].labels.tolist() == sum(window.label_counts() for window in windows[:3]).tolist()
    assert outputs["b", 4].latency.tolist() == pytest.approx(windows[3].latency_histogram().tolist())
