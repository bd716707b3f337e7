"""Windows summed into cells: one station, one sketch identity, one period.

Pure, and exact in any order (`contract.sketches.window.merge`). Duplicates were refused before, at ingest (DESIGN 5).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from contract.sketches.window import SketchIdentity, Window, merge


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a window is summed: `period` counts periods since 1970."""

    station: str
    identity: SketchIdentity
    period: int


def cell_of(station: str, window: Window, started_at: float, period_s: float) -> Cell:
    """Return the cell of a window that began at `started_at`, in periods of `period_s` seconds.

    A clock that says nonsense (infinite, NaN) is taken as 1970, where a person sees it.
    """
    period = started_at / period_s
    return Cell(station, window.identity, math.floor(period) if math.isfinite(period) else 0)


def merge_cells(windows: Iterable[tuple[Cell, Window]]) -> dict[Cell, Window]:
    """Return the sum of the windows of each cell.

    Raises:
        SketchMismatch: a cell holds more frames than a window may.
    """
    cells: dict[Cell, Window] = {}
    for cell, window in windows:
        held = cells.get(cell)
        cells[cell] = window if held is None else merge(held, window)
    return cells
