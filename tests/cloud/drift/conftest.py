"""A station's windows, drawn in feature space: real sketches of made-up statistics, so that a thousand take a second."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cloud.drift.observation import WindowRecord
from contract.sketches.distinct import register_and_rank
from contract.sketches.histogram import bin_indices
from contract.sketches.moments import N_STATISTICS, PAIRS, STATISTICS, to_fixed
from contract.sketches.projection import FOURIER_SCALE
from contract.sketches.window import FEATURES_VERSION, SketchIdentity, Window, empty_window, layout


class StationLine:
    """Makes the windows of one station, in order. Attributes may be changed between windows."""

    def __init__(self, station: str = "s1", seed: int = 0, frames: int = 32) -> None:
        self.station, self.frames = station, frames
        self.boot, self.seq, self.at = "boot1", 0, 1_000_000.0
        self.reference, self.artefact = "r" * 64, "a" * 64
        self.shift = np.zeros(N_STATISTICS)
        self.label_shares = np.array([0.3, 0.3, 0.2, 0.2])
        self.logit, self.frozen = 3.0, False
        # In standard deviations of a projection; Fourier features follow at half of that.
        self.scene_shift = 0.0
        self.loop = 0
        self._rng_of_frames = np.random.Generator(np.random.PCG64([seed, 1]))
        self.monotonic_s, self.synced = -1.0, True
        self.features = FEATURES_VERSION
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def shift_by(self, **by_sd: float) -> None:
        for name, sd in by_sd.items():
            self.shift[STATISTICS.index(name)] = 0.05 * sd

    def window(self) -> Window:
        count, rng = self.frames, self._rng
        blank = empty_window(SketchIdentity(self.features, 7, self.reference, self.artefact, 4))
        if count == 0:
            return blank
        sums = blank.sums.copy()
        part = {name: sums[section.start : section.stop] for name, section in layout(4).items()}
        values = rng.normal(0.5, 0.05, (count, N_STATISTICS)) + self.shift
        fixed = to_fixed(values)
        part["moments"][:], part["moments2"][:] = fixed.sum(axis=0), (fixed * fixed).sum(axis=0)
        part["products"][:] = (fixed.T @ fixed)[PAIRS]
        bins = bin_indices(values, np.full(N_STATISTICS, 0.5), np.full(N_STATISTICS, 0.05))
        part["histograms"][:] = np.bincount(
            (bins + 64 * np.arange(N_STATISTICS)).reshape(-1), minlength=64 * N_STATISTICS
        )
        projected = to_fixed(rng.normal(0, 1, (count, 64)) + self.scene_shift)
        part["projection"][:], part["projection2"][:] = projected.sum(axis=0), (projected * projected).sum(axis=0)
        features = rng.integers(-FOURIER_SCALE, FOURIER_SCALE + 1, (count, 256)) + int(
            self.scene_shift * FOURIER_SCALE / 2
        )
        part["fourier"][:] = np.clip(features, -FOURIER_SCALE, FOURIER_SCALE).sum(axis=0)
        labels = rng.choice(4, count, p=self.label_shares)
        part["labels"][:] = np.bincount(labels, minlength=4)
        logits = np.clip(rng.normal(self.logit, 1.0, count), -7.9, 7.9)
        part["confidence"][:] = np.bincount(labels * 64 + ((logits + 8) * 4).astype(int), minlength=256)
        part["latency"][5] = count
        registers = np.zeros(256, np.uint8)
        for number in range(1 if self.frozen else count):
            # A loop shows the same few frames again and again.
            frame = number % self.loop if self.loop else int(self._rng_of_frames.integers(1 << 62))
            register, rank = register_and_rank((frame + 1) * 0x9E3779B97F4A7C15 & (1 << 64) - 1)
            registers[register] = max(registers[register], rank)
        return Window(blank.identity, count, sums, fixed.min(axis=0), fixed.max(axis=0), registers)

    def record(self) -> WindowRecord:
        self.seq += 1
        self.at += 60.0
        if self.monotonic_s >= 0.0:
            self.monotonic_s += 60.0
        return WindowRecord(
            self.station,
            self.boot,
            self.seq,
            self.at,
            self.at + 60.0,
            self.window(),
            self.monotonic_s,
            self.synced,
        )

    def records(self, count: int) -> list[WindowRecord]:
        return [self.record() for _ in range(count)]


@pytest.fixture(scope="session")
def new_line() -> Callable[..., StationLine]:
    return StationLine
