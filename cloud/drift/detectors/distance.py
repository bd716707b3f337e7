"""Distances of one mean vector from another, calibrated by the baseline's own windows.

A distance has no closed null distribution here; each enrolled window is measured against the baseline of the *others* (leave one
out). The fourth root of such a sum of squares is about normal from one degree of freedom on (Hawkins and Wixley 1986; the cube
root only from several, and a scene that sways in one direction has one), so the roots are judged as levels.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from cloud.drift.observation import pack, unpack
from cloud.drift.vectors import Vector

_MOST_SWAYS = 4
_FOLDS = 4
_CLEARLY = 1.2
FLOOR = 0.02
"""The least sd of a root: below it, agreement is luck."""


class Sways(msgspec.Struct, frozen=True):
    """How windows differ from one another by more than their frames, as a share of the variances of single frames.

    `directions` f32[K,D] in which they sway most, by `extra` f32[K]; `rest` in all others. A fixture that settles, or lots that
    follow one another, move a scene to and fro in one direction: whitened, that is one figure of many and no drift.
    """

    directions: bytes = b""
    extra: bytes = b""
    rest: float = 0.0


NO_SWAYS = Sways()


def fit_sways(means: Vector, frames: Vector, variances: Vector) -> Sways:
    """Return how `means` f64[N,D] of so many `frames` f64[N] sway, given variances f64[D] of single frames.

    Directions stand out of noise when their eigenvalue passes the Marchenko-Pastur edge by a fifth.
    """
    windows, size = means.shape
    apart = (means - weighted(means, frames)) / np.sqrt(variances)
    # By the smaller of the two matrices: windows against windows, or figures against figures.
    few = windows <= size
    values, vectors = np.linalg.eigh(apart @ apart.T if few else apart.T @ apart)
    eigenvalues = np.maximum(values[::-1], 0.0) / (windows - 1)
    left, count = float(eigenvalues.sum()), 0
    clearly = _CLEARLY * (1.0 + (size / windows) ** 0.5) ** 2
    # What is noise is told by all that has not been taken for a sway: by the smallest alone, few windows would seem to sway.
    while count < min(_MOST_SWAYS, size - 1, len(eigenvalues)) and eigenvalues[count] > clearly * left / (size - count):
        left -= float(eigenvalues[count])
        count += 1
    noise = left / (size - count)
    rest = noise - float((1.0 / np.maximum(frames, 1.0)).mean())
    extra = np.maximum(eigenvalues[:count] - noise, 0.0)
    top = vectors[:, ::-1][:, :count]
    directions = (apart.T @ top if few else top).T
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    return Sways(pack(directions.reshape(-1)), pack(extra), max(rest, 0.0))


def root_distance(
    mean: Vector, normal: Vector, variances: Vector, frames: float, baseline_frames: float, sways: Sways = NO_SWAYS
) -> float:
    """Return the fourth root of the average squared, variance-scaled difference of two means; about 1 when nothing changed.

    Args:
        mean: f64[D], over `frames` frames.
        normal: f64[D], over `baseline_frames` frames.
        variances: f64[D], of single frames, above 0.
        sways: what windows differ by besides their frames; without it a window of more frames than usual lies further off the
            more frames it has.
    """
    spread = 1.0 / max(frames, 1.0) + 1.0 / max(baseline_frames, 1.0) + sways.rest
    apart = (mean - normal) / np.sqrt(variances)
    total = float(apart @ apart)
    swaying = 0.0
    if sways.extra:
        along = unpack(sways.directions).reshape(-1, apart.size) @ apart
        total -= float(along @ along)
        swaying = float((along * along / (spread + unpack(sways.extra))).sum())
    return float(((max(total, 0.0) / spread + swaying) / apart.size) ** 0.25)


def fit_distances(
    means: Vector, frames: Vector, variances: Callable[[Vector], Vector], *, told_variances: bool = True
) -> tuple[Sways, Vector]:
    """Return (how windows sway, the root distance of each of `means` f64[N,D] from the mean of all others, f64[N]).

    `variances` returns the variances of single frames given the others' mean; unless they are `told_variances`, what lies between
    windows in no direction in particular cannot be told from them. Each window is whitened by the sways of other windows: by its
    own it would lie nearer than any later one can.
    """
    sways = _sways(means, frames, variances, told_variances)
    total, summed = float(frames.sum()), frames @ means
    roots = np.empty(frames.size)
    folds = np.arange(frames.size) % _FOLDS
    for fold in range(_FOLDS):
        rest = folds != fold
        others_sways = _sways(means[rest], frames[rest], variances, told_variances)
        for index in np.flatnonzero(~rest):
            others = total - frames[index]
            normal = (summed - frames[index] * means[index]) / others
            roots[index] = root_distance(
                means[index], normal, variances(normal), float(frames[index]), float(others), others_sways
            )
    return sways, roots


def _sways(means: Vector, frames: Vector, variances: Callable[[Vector], Vector], told_variances: bool) -> Sways:
    found = fit_sways(means, frames, variances(weighted(means, frames)))
    return found if told_variances else msgspec.structs.replace(found, rest=0.0)


def weighted(values: Vector, weights: Vector) -> Vector:
    """Return the mean of `values` f64[N,...] weighted by `weights` f64[N]."""
    return np.asarray(weights @ values / weights.sum(), np.float64)


def share_variances(usual_answers: float) -> Callable[[Vector], Vector]:
    """Return what gives the per-frame variances of shares, each raised by that of one frame in a usual window.

    Without it a single answer in a cell that enrolment hardly saw would weigh like a landslide: chi-squared with tiny
    expected counts has a tail that no 24 windows show.
    """
    return lambda shares: shares + 1.0 / max(usual_answers, 1.0)
