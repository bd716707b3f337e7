"""When many small deviations add up to a change: a Shiryaev-Roberts e-detector.

Idea: each figure, direction and assumed size lambda of a change keeps a wealth M that a window multiplies by the evidence it
gives. While nothing changes, the average of M grows by at most 1 a window, so it stays below 1/alpha for at least 1/alpha
windows on average, whatever the dependence between figures. After a change it grows exponentially.

Formula: M <- (1 + M) * exp(f(x)), f(x) = lambda * (x - margin) - 1.1 * lambda**2 / 2, for lambda in {0.5, 1, 2, 3} and both
directions (one for a distance), averaged by stakes fixed beforehand. The factor 1.1 covers an sd known to 5 %. x - margin is
clipped to 10.

Agreement: one window alone gives at most exp(4), whatever it shows (a hand before the lens); more only as far as the window
before shows it too, up to exp(12): f(x) is replaced by max(min(f(x_t), 4), min(f(min(x_t, x_t-1)), 12)). That is never more than
f(x_t), so what is promised for the sum of all f still holds.

Example (prints the window that first passes 1/alpha after a step of 3 sd at window 100):
    >>> noise = np.random.Generator(np.random.PCG64(1)).standard_normal(200)
    >>> bank, found = new_bank(("mean",)), None
    >>> for index, z in enumerate(noise + 3.0 * (np.arange(200) >= 100)):
    ...     bank = update(bank, one_figure("mean", z, margin=0.6), at=float(index))
    ...     if log_average((bank,)) > np.log(1000) and found is None:
    ...         found = index
    >>> found
    103

Source: Shin, Ramdas, Rinaldo 2022, "E-detectors: a nonparametric framework for sequential change detection".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.drift.baseline import ONE_SIDED, TOGETHER
from cloud.drift.scores import Scores
from cloud.drift.vectors import Vector, from_bytes, to_bytes

LAMBDAS = (0.5, 1.0, 2.0, 3.0)
_LAMBDA_ROW = np.array(LAMBDAS)
_PENALTY_ROW = 1.1 * _LAMBDA_ROW**2 / 2.0
_MAX_EXCESS = 10.0
_MOST_ALONE, _MOST_AGREED = 4.0, 12.0
# Wealth never needs to be larger, and a finite ceiling keeps the logarithms finite after years of drift.
_MAX_LOG_WEALTH = 200.0
# Far below any sum it enters; stands for M = 0 and, unlike minus infinity, survives JSON.
NO_WEALTH = -1e9
_SMOOTHING = 0.25
_QUIET_LEVEL = 3.0
_MAX_LEVEL = 1e6


class Bank(msgspec.Struct, frozen=True):
    """The wealth of a set of figures, one stream for each direction in which a figure may change.

    Per stream, f64: `log_wealth` of each lambda, flat; `run`, how many windows in a row lay beyond the margin; `run_level`, the sum
    of their levels; `run_at`, when the run began. Per figure, f64: `smooth` and `smooth_level`, the moving averages of news and
    level, and the last `margins`. `before`: per stream, by how much the last window exceeded its margin.
    """

    figures: tuple[str, ...]
    log_wealth: bytes
    run: bytes
    run_level: bytes
    run_at: bytes
    smooth: bytes
    smooth_level: bytes
    margins: bytes
    before: bytes


@lru_cache(maxsize=64)
def streams(figures: tuple[str, ...]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return which figure each stream is of, intp[S], and its direction, f64[S] of +-1."""
    pairs = [
        (index, sign) for index, name in enumerate(figures) for sign in ((1.0,) if name in ONE_SIDED else (1.0, -1.0))
    ]
    return np.array([index for index, _ in pairs]), np.array([sign for _, sign in pairs])


def new_bank(figures: Sequence[str]) -> Bank:
    """Return a bank of `figures` with no wealth."""
    names = tuple(figures)
    count = len(streams(names)[0])
    none, flat = to_bytes(np.zeros(count)), to_bytes(np.zeros(len(names)))
    return Bank(names, to_bytes(np.full(count * len(LAMBDAS), NO_WEALTH)), none, none, none, flat, flat, flat, none)


def one_figure(name: str, z: float, margin: float) -> Scores:
    """Return the scores of a window of a single figure, all of it news."""
    value = np.array([z], np.float64)
    return Scores((name,), value, np.array([margin]), value, value)


def update(bank: Bank, scores: Scores, at: float) -> Bank:
    """Return `bank` after a window that began at `at` and had `scores`, of the bank's figures in their order."""
    index, sign = streams(bank.figures)
    z, level = _finite(scores.z), _finite(scores.level)
    excess = np.clip(sign * z[index] - scores.margin[index], -_MAX_EXCESS, _MAX_EXCESS)
    alone = np.minimum(excess[:, None] * _LAMBDA_ROW - _PENALTY_ROW, _MOST_ALONE)
    agreed = np.minimum(excess, from_bytes(bank.before))
    factor = np.maximum(alone, np.minimum(agreed[:, None] * _LAMBDA_ROW - _PENALTY_ROW, _MOST_AGREED))
    wealth = np.logaddexp(0.0, _log_wealth(bank)) + factor
    beyond = excess > 0.0
    run = np.where(beyond, from_bytes(bank.run) + 1.0, 0.0)
    return Bank(
        bank.figures,
        to_bytes(np.minimum(wealth, _MAX_LOG_WEALTH)),
        to_bytes(run),
        to_bytes(np.where(beyond, from_bytes(bank.run_level) + sign * level[index], 0.0)),
        to_bytes(np.where(run == 1.0, at, np.where(beyond, from_bytes(bank.run_at), 0.0))),
        _smoothed(bank.smooth, z),
        _smoothed(bank.smooth_level, level),
        to_bytes(scores.margin),
        to_bytes(excess),
    )


def log_bets(scores: Scores) -> NDArray[np.float64]:
    """Return what one window by itself is worth to each stream and lambda, f64[S,4]: the logarithm of the factor, uncapped."""
    index, sign = streams(scores.figures)
    excess = np.clip(sign * _finite(scores.z)[index] - scores.margin[index], -_MAX_EXCESS, _MAX_EXCESS)
    return np.asarray(excess[:, None] * _LAMBDA_ROW - _PENALTY_ROW)


def _finite(values: Vector) -> Vector:
    """Return `values`, with 0 for what is no number, which is no evidence, and bounded."""
    # The usual case, at a fifth of the price of looking at each.
    if np.isfinite(values.sum()):
        return values
    return np.nan_to_num(values, nan=0.0, posinf=_MAX_LEVEL, neginf=-_MAX_LEVEL)


def _smoothed(old: bytes, new: Vector) -> bytes:
    before = from_bytes(old)
    return to_bytes(before + _SMOOTHING * (np.clip(new, -_MAX_EXCESS, _MAX_EXCESS) - before))


def log_average(banks: Sequence[Bank]) -> float:
    """Return the logarithm of the wealth of `banks`, averaged over lambdas and, by their stakes, over streams."""
    return max(average_of([(bank.figures, from_bytes(bank.log_wealth)) for bank in banks]), NO_WEALTH)


def log10_of(log_e: float) -> float:
    """Return a natural logarithm of evidence as a power of ten; 0 for none at all."""
    return max(log_e, -300.0) / math.log(10.0) if log_e > NO_WEALTH else 0.0


def average_of(parts: Sequence[tuple[tuple[str, ...], Vector]]) -> float:
    """Return the logarithm of an average over the streams of several sets of figures, by their stakes; of each the logarithms
    f64[S,4], flat."""
    wealth = np.concatenate([values.reshape(-1) for _, values in parts])
    weights = np.concatenate([np.repeat(stakes(figures), len(LAMBDAS)) for figures, _ in parts])
    top = float(wealth.max())
    return top + float(np.log(np.exp(wealth - top) @ weights / weights.sum()))


@lru_cache(maxsize=64)
def stakes(figures: tuple[str, ...]) -> NDArray[np.float64]:
    """Return how much is put on each stream, f64[S]: on all statistics together as much as on all others of the set.

    Most that happens to a camera moves several statistics, and is found there first; any stakes fixed beforehand keep the promise.
    """
    index, _ = streams(figures)
    together = np.array([figures[figure] == TOGETHER for figure in index])
    return np.where(together, max(float((~together).sum()), 1.0), 1.0)


def is_quiet(bank: Bank) -> bool:
    """Return whether the recent average of every figure's news lies within 1 sd of its margin, half a window's noise and no more,
    and its level, of which slow light makes no news, within 3 sd."""
    both = np.array([name not in ONE_SIDED for name in bank.figures])
    news, level = from_bytes(bank.smooth), from_bytes(bank.smooth_level)
    news, level = np.where(both, np.abs(news), news), np.where(both, np.abs(level), level)
    return bool(((news <= from_bytes(bank.margins) + 1.0) & (level <= _QUIET_LEVEL)).all())


def stream_wealth(bank: Bank) -> NDArray[np.float64]:
    """Return the logarithm of each stream's largest wealth over the lambdas, f64[streams]."""
    return np.asarray(_log_wealth(bank).max(axis=1), np.float64)


def _log_wealth(bank: Bank) -> NDArray[np.float64]:
    return from_bytes(bank.log_wealth).reshape(-1, len(LAMBDAS))
