"""Whether images of another kind are coming: a kernel two-sample distance by random Fourier means.

Idea: a new material may leave every mean where it was and still be like nothing enrolled. The mean of 256 random Fourier features
of the projections stands for the whole distribution of images as a Gaussian kernel sees it, and means can be summed.

Formula: root(mean over k of n_eff (m_k - c_k)^2), the squared maximum mean discrepancy up to a constant
(`distance.root_distance` with variances of 1).

Example:
    >>> from cloud.drift.observation import pack
    >>> still = Pattern(pack(np.zeros(256)), 1000)
    >>> bool(still.root_of(np.zeros(256), 50) == 0.0 and still.root_of(np.full(256, 0.9), 50) > 3.0)
    True

Source: Gretton et al. 2012 (MMD); Rahimi and Recht 2007 (random Fourier features).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from cloud.drift.detectors.distance import between_windows, leave_one_out, root_distance, weighted
from cloud.drift.observation import Observation, pack, unpack
from cloud.drift.vectors import Vector

NAME = "pattern"


class Pattern(msgspec.Struct, frozen=True):
    """`mean` f32[256] of the features, over `frames` frames."""

    mean: bytes
    frames: int
    between: float = 0.0

    def root(self, seen: Observation) -> float:
        """Return the cube root of the distance of `seen`."""
        return self.root_of(unpack(seen.fourier), seen.frames)

    def root_of(self, mean: Vector, frames: float) -> float:
        """Return the same of a mean f64[256] over so many frames."""
        return root_distance(mean, unpack(self.mean), np.ones(mean.size), frames, self.frames, self.between)


def fit_pattern(observations: Sequence[Observation]) -> tuple[Pattern, Vector]:
    """Return (the normal pattern, the leave-one-out roots f64[N] of the windows behind it)."""
    frames = np.array([seen.frames for seen in observations], np.float64)
    means = np.stack([unpack(seen.fourier) for seen in observations])
    # The features' own variances are not kept; about a half is what a random phase gives.
    between = between_windows(means, frames, np.full(means.shape[1], 0.5)) / 2.0
    pattern = Pattern(pack(weighted(means, frames)), int(frames.sum()), between)
    return pattern, leave_one_out(means, frames, np.ones_like, between)
