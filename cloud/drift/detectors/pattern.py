"""Whether images of another kind are coming: a kernel two-sample distance by random Fourier means.

Idea: a new material may leave every mean where it was and still be like nothing enrolled. The mean of 256 random Fourier features
of the projections stands for the whole distribution of images as a Gaussian kernel sees it, and means can be summed.

Formula: root(mean over k of n_eff (m_k - c_k)^2), the squared maximum mean discrepancy up to a constant
(`distance.root_distance` with variances of 1).

Example:
    >>> from cloud.drift.observation import pack
    >>> still = Pattern(pack(np.zeros(256)), 1000)
    >>> bool(still.root_of(np.zeros(256), 50) == 0.0 and still.root_of(np.full(256, 0.9), 50) > 2.0)
    True

Source: Gretton et al. 2012 (MMD); Rahimi and Recht 2007 (random Fourier features).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from cloud.drift.detectors.distance import NO_SWAYS, Sways, fit_distances, root_distance, weighted
from cloud.drift.observation import Observation, pack, unpack
from cloud.drift.vectors import Vector

NAME = "pattern"


class Pattern(msgspec.Struct, frozen=True):
    """`mean` f32[256] of the features, over `frames` frames, `a_window` each."""

    mean: bytes
    frames: int
    a_window: float = 0.0
    sways: Sways = NO_SWAYS

    def root(self, seen: Observation) -> float:
        """Return the fourth root of the distance of `seen`."""
        return self.root_of(unpack(seen.fourier), seen.frames)

    def root_of(self, mean: Vector, frames: float) -> float:
        """Return the same of a mean f64[256] over so many frames."""
        # What frames of one window have in common is not known feature by feature: a window larger than usual is taken for a usual
        # one, or it would lie further off the more frames it has.
        usual = min(frames, self.a_window) if self.a_window else frames
        return root_distance(mean, unpack(self.mean), np.ones(mean.size), usual, self.frames, self.sways)


def fit_pattern(observations: Sequence[Observation]) -> tuple[Pattern, Vector]:
    """Return (the normal pattern, the leave-one-out roots f64[N] of the windows behind it)."""
    frames = np.array([seen.frames for seen in observations], np.float64)
    means = np.stack([unpack(seen.fourier) for seen in observations])
    # Features scatter by less than 1 from frame to frame: `rest` would be that, and is left out.
    sways, roots = fit_distances(means, frames, np.ones_like, told_variances=False)
    pattern = Pattern(pack(weighted(means, frames)), int(frames.sum()), float(frames.mean()), sways)
    return pattern, roots
