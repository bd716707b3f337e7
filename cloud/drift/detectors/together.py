"""Whether the statistics still move as they used to, together: Hotelling's T-squared on whitened news.

Idea: brighter light lifts mean, p95 and spread in a fixed proportion, and so do brighter parts, in another. Each figure alone may
stay within its noise while the combination is one that was never seen: 10 % more gain on magnetic tiles is found with 20 frames
by all figures together in 96 of 100 windows, and in 55 by the brightness alone.

Formula: T = e' R^-1 e / F for the news e f64[F] (`levels`), R their correlation. R comes from single frames, summed over the
whole enrolment (the sketch's sums of products), where a few windows could not fill a matrix; what moves between windows comes
from the windows' own news as they grow in number: R = share * R_windows + (1 - share) * R_frames, share = 1 - min(1, 2 F / N).
3 % of the identity keeps R invertible. The cube root of T is judged as a level, against the enrolled windows' own roots.

Parameters: none to choose.

Example (two figures that always move alike; in the last window they part):
    >>> common = np.random.Generator(np.random.PCG64(1)).normal(0, 1, (24, 1))
    >>> news = np.concatenate((common, common), axis=1)
    >>> together, roots = fit_together(news, np.array([[1.0, 0.99], [0.99, 1.0]]))
    >>> together.root(np.array([1.5, 1.5])) < 2.0 < together.root(np.array([1.0, -1.0]))
    True

Source: Hotelling 1931; shrinkage: Ledoit and Wolf 2004.
"""

from __future__ import annotations

import msgspec
import numpy as np

from cloud.drift.detectors.distance import FLOOR
from cloud.drift.detectors.levels import Levels
from cloud.drift.vectors import Vector, from_bytes, to_bytes

_RIDGE = 0.03
_FULL_AFTER = 2.0
_FOLDS = 6


class Together(msgspec.Struct, frozen=True):
    """`whitener` f64[F,F], the inverse of the news' correlation."""

    whitener: bytes

    def root(self, news: Vector) -> float:
        """Return the cube root of T of `news` f64[F]; about 1 when nothing changed."""
        matrix = from_bytes(self.whitener).reshape(news.size, news.size)
        return float(np.cbrt(max(float(news @ matrix @ news), 0.0) / news.size))


def fit_together(news: Vector, of_frames: Vector | None) -> tuple[Together, Vector]:
    """Return (the whitener, the roots f64[N] of the enrolled windows).

    Args:
        news: f64[N,F], of the enrolled windows.
        of_frames: correlation f64[F,F] of window means as far as single frames tell; None when the stations do not say.
    """
    folds = np.arange(len(news)) % _FOLDS
    roots = np.empty(len(news))
    for fold in range(_FOLDS):
        # Windows measured by a matrix that they helped to make look closer than any later window can.
        whitener = _whitener(news[folds != fold], of_frames)
        roots[folds == fold] = [whitener.root(each) for each in news[folds == fold]]
    return _whitener(news, of_frames), roots


def scale_margin(level: Levels, freedom: int) -> float:
    """Return what 3 standard errors of the statistics' own variances, of so many degrees of freedom, make of a root judged by
    `level`, in its sd.

    T sums the squares of all figures: where light moves them together, an sd that came out a tenth too small is a tenth too small
    for all.
    """
    spread = max(float(from_bytes(level.sd)[0]), FLOOR)
    error = 3.0 * float((2.0 / freedom) ** 0.5)
    # A cube root moves by a third of what is under it.
    return error / 3.0 * float(from_bytes(level.centre)[0]) / spread


def _whitener(news: Vector, of_frames: Vector | None) -> Together:
    windows, figures = news.shape
    share = 1.0 - min(1.0, _FULL_AFTER * figures / windows)
    base = np.eye(figures) if of_frames is None else of_frames
    correlation = share * _correlation(news.T @ news / windows) + (1.0 - share) * base
    return Together(to_bytes(np.linalg.inv((1.0 - _RIDGE) * correlation + _RIDGE * np.eye(figures))))


def _correlation(covariance: Vector) -> Vector:
    sd = np.sqrt(np.maximum(np.diagonal(covariance), 1e-12))
    return np.asarray(covariance / np.outer(sd, sd))
