"""What others do with a window: KS tests with Bonferroni, PSI, and the kernel two-sample statistic on the pixels.

All three are given the reference frames themselves, which is more than a sketch keeps. Each gives one score, larger for more
drift, and where there is a convention the limit of it (`Contender.limit`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstwo

from contract.sketches.frame_stats import FrameStats
from contract.sketches.moments import N_STATISTICS
from scripts.benches.tiles import TileFrame, TilePool
from scripts.benches.window_power import Contender

_SIGNIFICANCE = 0.05
_PSI_LIMIT = 0.2
_PSI_BINS = 10
# What tools in use put in place of an empty cell.
_PSI_EMPTY = 1e-4


class KolmogorovSmirnov:
    """The largest of the KS distances of the 12 statistics; the convention is p < 0.05 / 12 for any of them."""

    def __init__(self) -> None:
        self._reference = np.empty((N_STATISTICS, 0))

    def fit(self, reference: Sequence[FrameStats]) -> None:
        """Keep the sorted values."""
        self._reference = np.sort(_columns(reference), axis=1)

    def score(self, window: Sequence[FrameStats]) -> float:
        """Return the largest distance between two empirical distributions, over statistics."""
        current = np.sort(_columns(window), axis=1)
        return max(_distance(old, new) for old, new in zip(self._reference, current, strict=True))


def ks_limit(frames: int, reference_frames: int) -> float:
    """Return the distance whose two-sample p is 0.05 / 12, as `scipy.stats.ks_2samp(method="asymp")` has it."""
    effective = round(frames * reference_frames / (frames + reference_frames))
    return float(kstwo.isf(_SIGNIFICANCE / N_STATISTICS, effective))


class PopulationStability:
    """The largest population stability index of the 12 statistics over the reference's ten quantile bins; convention: > 0.2."""

    def __init__(self) -> None:
        self._cuts: list[NDArray[np.float64]] = []
        self._shares: list[NDArray[np.float64]] = []

    def fit(self, reference: Sequence[FrameStats]) -> None:
        """Cut each statistic into ten bins of equally many reference frames; equal cuts fall together."""
        columns = _columns(reference)
        inner = np.arange(1, _PSI_BINS) / _PSI_BINS
        self._cuts = [np.unique(np.quantile(column, inner)) for column in columns]
        self._shares = [_shares(column, cuts) for column, cuts in zip(columns, self._cuts, strict=True)]

    def score(self, window: Sequence[FrameStats]) -> float:
        """Return the largest sum of (new - old) ln(new / old) over bins, over statistics."""
        found = 0.0
        for column, cuts, old in zip(_columns(window), self._cuts, self._shares, strict=True):
            new = _shares(column, cuts)
            found = max(found, float(((new - old) * np.log(new / old)).sum()))
        return found


class PixelKernel:
    """Squared maximum mean discrepancy of 64x64 pixels, Gaussian kernel as wide as the median distance of reference frames.

    Its convention is a permutation test in every window; here it is calibrated on quiet windows like the others.
    Source: Gretton et al. 2012, "A kernel two-sample test".
    """

    def __init__(self, squared: NDArray[np.float32]) -> None:
        """Start with the squared distances of all frames of the pool, f32[serial,serial]: the same pairs meet in many windows."""
        self._squared = squared
        self._reference: list[int] = []
        self._scale = 1.0

    def fit(self, reference: Sequence[TileFrame]) -> None:
        """Keep the frames; take the kernel's width from their distances."""
        self._reference = [frame.serial for frame in reference]
        apart = self._between(self._reference, self._reference)[np.triu_indices(len(reference), 1)]
        self._scale = 1.0 / (2.0 * max(float(np.median(apart)), 1e-12))

    def score(self, window: Sequence[TileFrame]) -> float:
        """Return MMD^2 up to the reference's own term, which is the same for every window."""
        current = [frame.serial for frame in window]
        within = np.exp(-self._scale * self._between(current, current)).mean()
        across = np.exp(-self._scale * self._between(current, self._reference)).mean()
        return float(within - 2.0 * across)

    def _between(self, one: list[int], other: list[int]) -> NDArray[np.float64]:
        return self._squared[np.ix_(one, other)].astype(np.float64)


def pixel_distances(frames: Sequence[TileFrame]) -> NDArray[np.float32]:
    """Return the squared distances between the pixels of all `frames`, f32[n,n]."""
    pixels = np.stack([frame.raw for frame in frames])
    norms = (pixels * pixels).sum(axis=1)
    return np.asarray(np.maximum(norms[:, None] + norms[None, :] - 2.0 * (pixels @ pixels.T), 0.0), np.float32)


def peer_contenders(pool: TilePool) -> tuple[Contender, ...]:
    """Return the other detectors of table 2."""
    squared = pixel_distances(pool.every_frame())
    return (
        Contender("ks", lambda _: KolmogorovSmirnov(), ks_limit),
        Contender("psi", lambda _: PopulationStability(), lambda _frames, _reference: _PSI_LIMIT),
        Contender("mmd", lambda _: PixelKernel(squared)),
    )


def _columns(frames: Sequence[FrameStats]) -> NDArray[np.float64]:
    return np.stack([frame.values for frame in frames], axis=1)


def _distance(old: NDArray[np.float64], new: NDArray[np.float64]) -> float:
    both = np.concatenate((old, new))
    of_old = np.searchsorted(old, both, side="right") / old.size
    of_new = np.searchsorted(new, both, side="right") / new.size
    return float(np.abs(of_old - of_new).max())


def _shares(column: NDArray[np.float64], cuts: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = np.bincount(np.searchsorted(cuts, column, side="right"), minlength=cuts.size + 1)
    return np.maximum(counts / column.size, _PSI_EMPTY)
