"""Whether the scene has moved: the distance of the mean of 64 random projections of the thumbnail.

Idea: what the statistics of brightness cannot say, a tilted fixture or another part, moves light from one place of the image to
another. Projections of random signs keep distances between thumbnails (Johnson and Lindenstrauss), at 64 numbers a frame.

Formula: root(mean over d of n_eff (m_d - c_d)^2 / v_d), 1 / n_eff = 1 / n + 1 / N + what windows differ by besides their frames,
more in the directions in which they sway (`distance.Sways`): Hotelling's distance, whitened by frames and by sways.

Example:
    >>> from cloud.drift.observation import pack
    >>> still = Scene(pack(np.zeros(64)), pack(np.ones(64)), 1000)
    >>> bool(still.root_of(np.zeros(64), 50) == 0.0 and still.root_of(np.ones(64), 50) > 2.0)
    True

Source: Achlioptas 2003 (sign projections); Hotelling 1931, with the diagonal of Bai and Saranadasa 1996.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from cloud.drift.detectors.distance import NO_SWAYS, Sways, fit_distances, root_distance, weighted
from cloud.drift.observation import Observation, pack, unpack
from cloud.drift.vectors import Vector

NAME = "scene"
# A hundredth of the enrolled sd: below, projections differ by the last bits of a float.
_LEAST_VARIANCE = 1e-4


class Scene(msgspec.Struct, frozen=True):
    """`mean` and `variances` f32[64] of the standardised projections, over `frames` frames.

    `sways`: how windows differ by more than their frames.
    """

    mean: bytes
    variances: bytes
    frames: int
    sways: Sways = NO_SWAYS

    def root(self, seen: Observation) -> float:
        """Return the fourth root of the distance of `seen`; about 1 when nothing changed."""
        return self.root_of(unpack(seen.projection), seen.frames)

    def root_of(self, mean: Vector, frames: float) -> float:
        """Return the same of a mean f64[64] over so many frames."""
        return root_distance(mean, unpack(self.mean), unpack(self.variances), frames, self.frames, self.sways)


def fit_scene(observations: Sequence[Observation]) -> tuple[Scene, Vector]:
    """Return (the normal scene, the leave-one-out roots f64[N] of the windows behind it)."""
    frames = np.array([seen.frames for seen in observations], np.float64)
    means = np.stack([unpack(seen.projection) for seen in observations])
    variances = weighted(np.stack([unpack(seen.projection_variances) for seen in observations]), frames)
    variances = np.maximum(variances, _LEAST_VARIANCE)
    sways, roots = fit_distances(means, frames, lambda _: variances)
    scene = Scene(pack(weighted(means, frames)), pack(variances), int(frames.sum()), sways)
    return scene, roots
