"""The enrolment of a station: what its first frames say of where the bins of its sketches should lie."""

from __future__ import annotations

import numpy as np

from contract.errors import SketchMismatch
from contract.sketches.frame_stats import FrameStats
from contract.sketches.moments import MEASURES_VERSION, N_STATISTICS
from contract.sketches.projection import PROJECTIONS, project
from contract.sketches.reference import Reference

# Half a grey level: what never moved at enrolment must not alarm at the first flicker of one.
MIN_SD = 1.0 / 512.0
MIN_PROJECTION_SD = 1.0 / 512.0
DEFAULT_SEED = 20261120


class Enrolment:
    """Watches the first frames of a station to learn where its statistics lie.

    >>> from contract.sketches.frame_stats import frame_stats
    >>> enrolment = Enrolment(frames_needed=2)
    >>> for level in (100, 110):
    ...     enrolment.add(frame_stats(np.full((64, 64), level, np.uint8)))
    >>> enrolment.ready, round(enrolment.reference().centre[0], 3)
    (True, 0.412)
    """

    def __init__(self, frames_needed: int, seed: int = DEFAULT_SEED) -> None:
        self._seed = seed
        self._frames_needed = max(frames_needed, 2)
        self._frames = 0
        self._sums = np.zeros(N_STATISTICS + PROJECTIONS)
        self._squares = np.zeros(N_STATISTICS + PROJECTIONS)

    @property
    def frames(self) -> int:
        """Frames added so far."""
        return self._frames

    @property
    def frames_needed(self) -> int:
        """Frames that make an enrolment, at least 2."""
        return self._frames_needed

    @property
    def ready(self) -> bool:
        """Return whether enough frames were added."""
        return self._frames >= self._frames_needed

    def add(self, stats: FrameStats) -> None:
        """Add one frame."""
        raw = project(stats.thumbnail.reshape(1, -1), self._seed)[0]
        values = np.nan_to_num(np.concatenate((stats.values, raw.astype(np.float64))))
        self._sums += values
        self._squares += values * values
        self._frames += 1

    def reference(self) -> Reference:
        """Return what the frames added so far enrol.

        Raises:
            SketchMismatch: there are none.
        """
        if self._frames == 0:
            raise SketchMismatch("a station cannot enrol on no frames", hint="let it see some parts first")
        centre = self._sums / self._frames
        spread = np.sqrt(np.maximum(self._squares / self._frames - centre * centre, 0.0))
        # Rounded, so that the digest does not hang on the last bits of a sum.
        centre, spread = np.round(centre, 9), np.round(spread, 9)
        return Reference(
            seed=self._seed,
            frames=self._frames,
            centre=tuple(centre[:N_STATISTICS].tolist()),
            sd=tuple(np.maximum(spread[:N_STATISTICS], MIN_SD).tolist()),
            projection_centre=tuple(centre[N_STATISTICS:].tolist()),
            projection_sd=tuple(np.maximum(spread[N_STATISTICS:], MIN_PROJECTION_SD).tolist()),
            measures=MEASURES_VERSION,
        )
