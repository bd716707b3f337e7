"""Shares and rates with 95 % intervals, and how a table prints them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, gammaincinv, stdtrit

_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g}-{self.high:.3g})"

    def figures(self, key: str) -> dict[str, float]:
        """Return it as flat figures: `key`, `key_low`, `key_high`; without those that are infinite, which JSON cannot hold."""
        figures = {key: self.value, f"{key}_low": self.low, f"{key}_high": self.high}
        return {name: figure for name, figure in figures.items() if math.isfinite(figure)}


def clustered_share(hits: ArrayLike) -> Estimate:
    """Return the share of `hits` f64[clusters, each] (0..1: a tie broken at random is a fraction), and a 95 % interval.

    Windows of one split share their tiles, so they are worth fewer than as many independent ones. The interval is Clopper and
    Pearson's on the effective number that the spread between clusters shows, made smaller by the ratio of t quantiles for
    having few clusters. Where all agree (0 or 1) nothing can be estimated: then a cluster counts as one.

    >>> print(clustered_share([[1, 0], [1, 1], [0, 1], [1, 1]]))
    0.75 (0.244-0.988)

    Source: Korn and Graubard 1998, "Confidence intervals for proportions with small expected number of positive counts".
    """
    table = np.asarray(hits, np.float64)
    clusters, count = table.shape[0], table.size
    share = float(table.mean())
    spread = float(table.mean(axis=1).var(ddof=1)) / clusters if clusters > 1 else 0.0
    if spread > 0.0:
        fewer = float(stdtrit(count - 1, 1 - _TAIL) / stdtrit(clusters - 1, 1 - _TAIL)) ** 2
        effective = min(share * (1 - share) / spread * fewer, float(count))
    else:
        effective = float(clusters)
    return clopper_pearson(share, effective)


def clopper_pearson(share: float, trials: float) -> Estimate:
    """Return `share` of `trials`, which need not be whole, with its exact 95 % interval.

    >>> print(clopper_pearson(0.5, 10))
    0.5 (0.187-0.813)
    """
    hits = share * trials
    low = float(betaincinv(hits, trials - hits + 1, _TAIL)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - _TAIL)) if hits < trials else 1.0
    return Estimate(share, low, high)


def run_length(alarms: int, windows: int) -> Estimate:
    """Return the mean windows from start to alarm, of `windows` watched in all of which `alarms` ended in one.

    Runs without an alarm count for the windows they lasted (censored on the right). The interval is the exact one of a Poisson
    count. With no alarm at all the value is the lower limit and the upper one is infinite.

    >>> print(run_length(10, 10_000))
    1e+03 (544-2.09e+03)
    """
    low = windows / float(gammaincinv(alarms + 1, 1 - _TAIL))
    if alarms == 0:
        return Estimate(low, low, float("inf"))
    return Estimate(windows / alarms, low, windows / float(gammaincinv(alarms, _TAIL)))


def titled_table(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Return `rows`, the first of which are headings, in columns below `title`."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join((title, *lines))
