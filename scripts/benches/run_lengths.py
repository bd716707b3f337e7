"""How long a watch over quiet windows lasts, and how soon it notices a change: table 3 of `bench drift`.

A stream enrols windows of some tiles and then watches windows of others: what was learnt of 85 tiles is never quite true of
the other 130, which is what makes long quiet runs hard. Windows are of 20 frames, so that the window's own scatter is larger
than that offset. A run ends at its first alarm; one without an alarm counts for the windows it lasted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from scripts.benches.share_interval import Estimate, clopper_pearson, run_length
from scripts.benches.tiles import Condition, Indices, TileFrame, TilePool, draw, split_tiles

FRAMES = 20
ENROL_WINDOWS = 24
NOMINAL_WINDOWS = 1000
_PHASES = 32
_PHASE_SEED = 5


@dataclass(frozen=True, slots=True)
class Stream:
    """Windows in order: `enrolled` int[E,n] and `watched` int[T,n] tiles of `pool`; from `change` on under `then`."""

    pool: TilePool
    enrolled: Indices
    watched: Indices
    change: int
    then: Condition

    def enrolment(self) -> list[list[TileFrame]]:
        """Return the windows to learn from."""
        return [self.pool.pick(Condition.NOMINAL, window) for window in self.enrolled]

    def windows(self) -> Iterator[list[TileFrame]]:
        """Yield the windows to watch."""
        for at, window in enumerate(self.watched):
            yield self.pool.pick(self.then if at >= self.change else Condition.NOMINAL, window)

    def standardised(self) -> NDArray[np.float64]:
        """Return the window means of the 12 statistics, enrolled windows first, in the enrolled windows' mean and sd."""
        before, after = self.pool.values(Condition.NOMINAL), self.pool.values(self.then)
        enrolled = before[self.enrolled].mean(axis=1)
        watched = before[self.watched].mean(axis=1)
        watched[self.change :] = after[self.watched[self.change :]].mean(axis=1)
        sd = np.maximum(enrolled.std(axis=0, ddof=1), 1e-9)
        return np.asarray((np.concatenate((enrolled, watched)) - enrolled.mean(axis=0)) / sd, np.float64)


Watch = Callable[[Sequence[Stream]], Sequence[Sequence[int]]]
"""Returns for each stream the watched windows (0 is the first after enrolment) at which an alarm began."""


@dataclass(frozen=True, slots=True)
class StreamEffort:
    """Streams of each kind; windows of a quiet one; quiet windows before a change, up to 31 more, and drifted ones after."""

    streams: int = 100
    quiet: int = NOMINAL_WINDOWS
    before: int = 100
    after: int = 200


@dataclass(frozen=True, slots=True)
class Delay:
    """Windows from the change to the first alarm: its median (infinite if most never alarm), and the share ever found.

    Streams that alarmed before the change are left out; `false_starts` is their share.
    """

    median: Estimate
    found: Estimate
    false_starts: Estimate


def quiet_streams(pool: TilePool, effort: StreamEffort) -> list[Stream]:
    """Return streams in which nothing happens."""
    return [_stream(pool, seed, effort.quiet, effort.quiet, Condition.NOMINAL) for seed in range(effort.streams)]


def changing_streams(pool: TilePool, effort: StreamEffort, then: Condition) -> list[Stream]:
    """Return streams that come under `then`."""
    # Detectors that look only every so many windows (ADWIN: 32) must not find every change at the same phase of their clock.
    later = np.random.default_rng(_PHASE_SEED).integers(_PHASES, size=effort.streams).tolist()
    return [
        _stream(pool, seed, effort.before + more + effort.after, effort.before + more, then)
        for seed, more in enumerate(later)
    ]


def measure_run_length(streams: Sequence[Stream], alarms: Sequence[Sequence[int]]) -> Estimate:
    """Return the mean run length over quiet `streams`."""
    lasted = [min(found) + 1 if found else len(stream.watched) for stream, found in zip(streams, alarms, strict=True)]
    return run_length(sum(bool(found) for found in alarms), sum(lasted))


def measure_delay(streams: Sequence[Stream], alarms: Sequence[Sequence[int]]) -> Delay:
    """Return how soon the change of `streams` was noticed; an alarm at the first drifted window is a delay of 1."""
    delays = [
        min((at - stream.change + 1 for at in found), default=np.inf)
        for stream, found in zip(streams, alarms, strict=True)
    ]
    clean = np.sort([delay for delay in delays if delay > 0])
    false_starts = clopper_pearson(1.0 - clean.size / len(streams), len(streams))
    if clean.size == 0:
        return Delay(Estimate(np.inf, np.inf, np.inf), Estimate(0.0, 0.0, 1.0), false_starts)
    found = clopper_pearson(float(np.isfinite(clean).mean()), clean.size)
    return Delay(_median(clean), found, false_starts)


def _stream(pool: TilePool, seed: int, windows: int, change: int, then: Condition) -> Stream:
    split = split_tiles(pool.tiles, seed)
    held_out = np.concatenate((split.calibration, split.test))
    rng = np.random.default_rng((seed, 3))
    enrolled = np.stack([draw(split.reference, FRAMES, rng) for _ in range(ENROL_WINDOWS)])
    watched = np.stack([draw(held_out, FRAMES, rng) for _ in range(windows)])
    return Stream(pool, enrolled, watched, change, then)


def _median(ordered: NDArray[np.float64]) -> Estimate:
    """Return the median of `ordered` and its distribution-free 95 % interval, between order statistics."""
    low = max(int(binom.ppf(0.025, ordered.size, 0.5)) - 1, 0)
    high = min(int(binom.ppf(0.975, ordered.size, 0.5)), ordered.size - 1)
    middle = ordered[(ordered.size - 1) // 2]
    return Estimate(float(middle), float(ordered[low]), float(ordered[high]))
