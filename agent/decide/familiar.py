"""How far a frame lies from the nearest frames of its camera's enrolment: one number, cheap enough for every frame.

Idea: a station may see several kinds of good surface, and then centre and width (`novelty.py`, which asks where on the frame
something is odd) call everything between and around them ordinary: white noise scored below a limit that mixed steel had set. So
some of the enrolled frames are remembered by their 12 statistics, and a frame is familiar when it looks like any of them.

Formula: y = L'(clip((x - centre) / sd, +-8)), with L L' the inverse of 95 % of the statistics' correlation and 5 % of none; the
distance is the root mean square of y - y_i for the second nearest remembered frame i: one stranger that slipped into the enrolment
makes nothing familiar.

Measured on real images as the share refused at one limit, beside `novelty.py`'s score (mean of three seeds; the figures of every
group are in `tests/realdata/test_refusal_on_real_images.py`): tiles shown to a station of crazed steel 100 % (76), of scratched
steel 94 (57), of pitted steel 100 (57), steel to a station of tiles 62 (32); to one of five steels white noise 100 (67), the
sixth kind 63 (0), tiles 2 (0). What it does not see: a part that lies the other way round (no more than good ones), and small
defects of tiles (0 to 6), which are the model's to find. Without the correlation it finds as much or a little less.

Parameters: frames to remember, at most MOST_POINTS, evenly from the enrolment. Memory: 48 KiB a camera.
Cost: 13 us a frame on a slow x86 core, with 256 points or 512.

Source: Knorr and Ng 1998, Ramaswamy et al. 2000 (distance to the k-th nearest neighbour as outlier score); shrinkage of the
correlation as in Ledoit and Wolf 2004, with a fixed share.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from contract.sketches.enrolment import MIN_SD
from contract.sketches.moments import N_STATISTICS

MOST_POINTS = 512
MOST_DISTANCE = 1e6
_NEAREST = 2
_SHRINK = 0.05
_MOST_DEVIATION = 8.0

F64 = NDArray[np.float64]


class Familiar:
    """Remembers a camera's enrolled frames, then measures others against them. `add` is one thread's, `distance` any one's."""

    def __init__(self, frames_needed: int) -> None:
        self._needed = max(frames_needed, _NEAREST)
        self._seen = 0
        self._points = np.zeros((min(self._needed, MOST_POINTS), N_STATISTICS), np.float32)
        self._filled = 0
        self._prepared = False

    @property
    def ready(self) -> bool:
        """Whether enough frames were added: from then on there are distances, and nothing more is added."""
        return self._prepared

    def add(self, values: F64) -> None:
        """Remember one enrolled frame's 12 statistics, or every so manieth where there are more frames than places."""
        if self.ready:
            return
        if self._filled * self._needed <= self._seen * len(self._points):
            self._points[self._filled] = np.nan_to_num(values)
            self._filled += 1
        self._seen += 1
        if self._seen >= self._needed:
            self._prepare()

    def distance(self, values: F64) -> float:
        """Return how far a frame's 12 statistics lie from what was enrolled, 0 to MOST_DISTANCE; 0 until that is ready."""
        if not self._prepared:
            return 0.0
        z = values - self._centre
        z *= self._scale
        np.minimum(z, self._most, out=z)
        np.maximum(z, self._least, out=z)
        y = self._whiten.dot(z)
        squares = self._minus_twice.dot(y)
        squares += self._norms
        squares.partition(_NEAREST - 1)
        squared = float(squares[_NEAREST - 1]) + float(y.dot(y))
        # Statistics of pixels are finite; should one ever not be, nobody can say that the frame is familiar.
        if not math.isfinite(squared):
            return MOST_DISTANCE
        return min(math.sqrt(max(squared, 0.0) / N_STATISTICS), MOST_DISTANCE)

    def encode(self) -> bytes:
        """Return what is remembered, f32[n,12], little-endian."""
        return self._points.astype("<f4").tobytes()

    @classmethod
    def decode(cls, kept: bytes) -> Familiar | None:
        """Return one that is ready, of what `encode` returned; None where these bytes are no such thing."""
        if not kept or len(kept) % (4 * N_STATISTICS) or len(kept) > 4 * N_STATISTICS * MOST_POINTS:
            return None
        points = np.frombuffer(kept, "<f4").reshape(-1, N_STATISTICS)
        if len(points) < _NEAREST or not np.isfinite(points).all() or np.abs(points).max() > MOST_DISTANCE:
            return None
        familiar = cls(len(points))
        for point in points.astype(np.float64):
            familiar.add(point)
        return familiar

    def _prepare(self) -> None:
        points = self._points.astype(np.float64)
        self._centre = points.mean(axis=0)
        self._scale = 1.0 / np.maximum(points.std(axis=0), MIN_SD)
        z = np.clip((points - self._centre) * self._scale, -_MOST_DEVIATION, _MOST_DEVIATION)
        correlation = (1.0 - _SHRINK) * (z.T @ z) / len(z) + _SHRINK * np.eye(N_STATISTICS)
        self._whiten = np.ascontiguousarray(np.linalg.cholesky(np.linalg.inv(correlation)).T)
        near = z @ self._whiten.T
        self._minus_twice, self._norms = np.ascontiguousarray(-2.0 * near), (near * near).sum(axis=1)
        self._most = np.full(N_STATISTICS, _MOST_DEVIATION)
        self._least = -self._most
        # Last: whoever measures on another thread finds everything there.
        self._prepared = True
