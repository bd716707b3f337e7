"""How unlike anything enrolled a frame looks: one number, cheap enough for every frame.

Idea: the enrolled reference knows centre and width of 12 pixel statistics and of random projections of the thumbnail. The
statistics see another material, light or focus; the projections see where in the frame something is. Lest one drown in the
other, the score is the larger of two root mean squares.

Formula: z = (x - centre) / sd, clipped to +-8, and max(rms(z[:12]), rms(z[12:])). An ordinary enrolled frame scores about 1,
whatever the station; 8 is the most. The clip keeps one statistic that hardly moved at enrolment from speaking for all.

Measured as the area under the curve against held-out good frames (0.5 is chance), five seeds. Magnetic tiles of one exposure,
80 frames enrolled: steel .97-.99, Break .77-.78, Fray .70-.74, Uneven .65-.67; but Blowhole .45-.52 and Crack .38-.44: a defect
of a few pixels is not novel to a thumbnail, the model must see it. Rolled steel, one class of 150 frames enrolled: each of the
other five .98-1.00. The statistics alone miss Break (.52), the projections alone miss other steel (.05-.53).
Cost: 8.5 us a frame on a slow x86 core.

Parameters: none but the reference.

>>> from contract.sketches.enrolment import Enrolment
>>> from contract.sketches.frame_stats import frame_stats
>>> levels = np.random.default_rng(1)
>>> enrolment = Enrolment(frames_needed=50)
>>> for _ in range(50):
...     enrolment.add(frame_stats(levels.integers(90, 110, (64, 64), np.uint8)))
>>> novelty = Novelty()
>>> reference = enrolment.reference()
>>> same, other = levels.integers(90, 110, (64, 64), np.uint8), levels.integers(0, 255, (64, 64), np.uint8)
>>> novelty.of(frame_stats(same), reference) < 1.5, novelty.of(frame_stats(other), reference) > 3.0
(True, True)

Source: Mahalanobis distance with a diagonal covariance (Lee et al. 2018 use it on a network's features); sign projections as in
`contract.sketches.projection` (Achlioptas 2003).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from contract.sketches.frame_stats import FrameStats
from contract.sketches.moments import N_STATISTICS
from contract.sketches.projection import THUMBNAIL_SIDE, projection_matrix
from contract.sketches.reference import Reference

MAX_NOVELTY = 8.0
# The first 52 of the 64: with the 12 statistics the product has 64 columns, which is a third faster than 76 and finds as much.
_PROJECTIONS = 52
_COLUMNS = N_STATISTICS + _PROJECTIONS
_CELLS = THUMBNAIL_SIDE * THUMBNAIL_SIDE


class Novelty:
    """Scores frames against a reference; makes its weights anew when that changes. Any thread's.

    All is one product of the thumbnail, the statistics and a 1 with weights that standardise on the way. It has two rows of
    which one is empty, for OpenBLAS threads a product of one row far sooner.
    """

    def __init__(self) -> None:
        # Swapped whole.
        self._weights: tuple[Reference, NDArray[np.float32]] | None = None
        self._most = np.full(_COLUMNS, MAX_NOVELTY, np.float32)
        self._least = -self._most

    def of(self, stats: FrameStats, reference: Reference | None) -> float:
        """Return the novelty of a frame, 0..8; 0 while there is nothing to compare with: the station enrols."""
        if reference is None:
            return 0.0
        made = self._weights
        if made is None or made[0] is not reference:
            made = self._weights = reference, _weights(reference)
        frame = np.zeros((2, _CELLS + N_STATISTICS + 1), np.float32)
        frame[0, :_CELLS] = stats.thumbnail.reshape(-1)
        frame[0, _CELLS:-1] = stats.values
        frame[0, -1] = 1.0
        z = frame.dot(made[1])[0]
        np.minimum(z, self._most, out=z)
        np.maximum(z, self._least, out=z)
        of_statistics, of_projections = z[:N_STATISTICS], z[N_STATISTICS:]
        statistics = float(of_statistics.dot(of_statistics)) / N_STATISTICS
        projections = float(of_projections.dot(of_projections)) / _PROJECTIONS
        most = max(statistics, projections)
        # Statistics of pixels are finite; should one ever not be, the frame is no stranger for that.
        return min(math.sqrt(most), MAX_NOVELTY) if math.isfinite(statistics + projections) else 0.0


def _weights(reference: Reference) -> NDArray[np.float32]:
    """Return f32[1037,64]: (thumbnail, statistics, 1) @ weights are the standardised statistics and projections."""
    scale = 1.0 / np.array(reference.sd + reference.projection_sd[:_PROJECTIONS])
    weights = np.zeros((_CELLS + N_STATISTICS + 1, _COLUMNS))
    weights[:_CELLS, N_STATISTICS:] = projection_matrix(reference.seed)[:, :_PROJECTIONS]
    weights[_CELLS:-1, :N_STATISTICS] = np.eye(N_STATISTICS)
    weights[-1] = -np.array(reference.centre + reference.projection_centre[:_PROJECTIONS])
    return np.ascontiguousarray(weights * scale, np.float32)
