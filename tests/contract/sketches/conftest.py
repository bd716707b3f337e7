"""Windows as a station could have summed them, made from a seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from contract.sketches.distinct import register_and_rank
from contract.sketches.moments import FIXED_LIMIT, N_STATISTICS, PAIRS, SCALE
from contract.sketches.projection import FOURIER_SCALE
from contract.sketches.window import FEATURES_VERSION, SketchIdentity, Window, empty_window, layout


def _window(seed: int, frames: int, labels: int = 6, reference: str = "r" * 64, spread: float = 1.0) -> Window:
    rng = np.random.Generator(np.random.PCG64(seed))
    blank = empty_window(SketchIdentity(FEATURES_VERSION, 7, reference, "a" * 64, labels))
    if frames == 0:
        return blank
    sums, registers = blank.sums.copy(), blank.registers.copy()
    part = {name: sums[section.start : section.stop] for name, section in layout(labels).items()}
    limit = int(min(spread, FIXED_LIMIT / SCALE) * SCALE)
    values = rng.integers(-limit, limit + 1, (frames, N_STATISTICS))
    part["moments"][:], part["moments2"][:] = values.sum(axis=0), (values * values).sum(axis=0)
    part["products"][:] = (values.T @ values)[PAIRS]
    for row in range(N_STATISTICS):
        part["histograms"][64 * row : 64 * row + 64] = np.bincount(rng.integers(0, 64, frames), minlength=64)
    projected = rng.integers(-limit, limit + 1, (frames, 64))
    part["projection"][:], part["projection2"][:] = projected.sum(axis=0), (projected * projected).sum(axis=0)
    part["fourier"][:] = rng.integers(-FOURIER_SCALE, FOURIER_SCALE + 1, (frames, 256)).sum(axis=0)
    for name in ("labels", "confidence", "latency"):
        part[name][:] = np.bincount(rng.integers(0, part[name].size, frames), minlength=part[name].size)
    for number in rng.integers(0, 1 << 63, frames):
        register, rank = register_and_rank(int(number) * 2)
        registers[register] = max(registers[register], rank)
    return Window(blank.identity, frames, sums, values.min(axis=0), values.max(axis=0), registers)


@pytest.fixture(scope="session")
def make_window() -> Callable[..., Window]:
    return _window
