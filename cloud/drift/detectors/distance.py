"""Distances of one mean vector from another, calibrated by the baseline's own windows.

A distance has no closed null distribution here; each enrolled window is measured against the baseline of the *others* (leave one
out). The cube root of such a sum of squares is about normal (Wilson and Hilferty 1931), so the roots are judged as levels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cloud.drift.vectors import Vector

FLOOR = 0.02
"""The least sd of a root: below it, agreement is luck."""


def root_distance(
    mean: Vector, normal: Vector, variances: Vector, frames: float, baseline_frames: float, between: float = 0.0
) -> float:
    """Return the cube root of the average squared, variance-scaled difference of two means; about 1 when nothing changed.

    Args:
        mean: f64[D], over `frames` frames.
        normal: f64[D], over `baseline_frames` frames.
        variances: f64[D], of single frames, above 0.
        between: how much windows differ by more than their frames, as a share of `variances` (`between_windows`): without it a
            window of more frames than usual lies further off the more frames it has.
    """
    effective = 1.0 / (1.0 / max(frames, 1.0) + 1.0 / max(baseline_frames, 1.0) + between)
    difference = mean - normal
    return float(np.cbrt(effective * np.mean(difference * difference / variances)))


def between_windows(means: Vector, frames: Vector, variances: Vector) -> float:
    """Return by how much `means` f64[N,D] scatter beyond what frames of `variances` f64[D] explain, as a share of those."""
    scatter = float(np.mean(means.var(axis=0, ddof=1) / variances))
    return max(scatter - float((1.0 / np.maximum(frames, 1.0)).mean()), 0.0)


def leave_one_out(means: Vector, frames: Vector, variances: Callable[[Vector], Vector], between: float = 0.0) -> Vector:
    """Return the root distance of each of `means` f64[N,D] from the mean of all others, f64[N].

    `variances` returns the variances of single frames given the others' mean.
    """
    total, summed = float(frames.sum()), frames @ means
    roots = np.empty(frames.size)
    for index in range(frames.size):
        others = total - frames[index]
        normal = (summed - frames[index] * means[index]) / others
        roots[index] = root_distance(
            means[index], normal, variances(normal), float(frames[index]), float(others), between
        )
    return roots


def weighted(values: Vector, weights: Vector) -> Vector:
    """Return the mean of `values` f64[N,...] weighted by `weights` f64[N]."""
    return np.asarray(weights @ values / weights.sum(), np.float64)


def share_variances(usual_answers: float) -> Callable[[Vector], Vector]:
    """Return what gives the per-frame variances of shares, each raised by that of one frame in a usual window.

    Without it a single answer in a cell that enrolment hardly saw would weigh like a landslide: chi-squared with tiny
    expected counts has a tail that no 24 windows show.
    """
    return lambda shares: shares + 1.0 / max(usual_answers, 1.0)
