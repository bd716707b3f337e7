"""When many small deviations add up to a change: a Shiryaev-Roberts e-detector.

Idea: each figure, direction and assumed size lambda of a change keeps a wealth M that a window multiplies by the evidence it
gives. While nothing changes, the average of M grows by at most 1 a window, so it stays below 1/alpha for at least 1/alpha
windows on average, whatever the dependence between figures. After a change it grows exponentially.

Formula: M <- (1 + M) * min(exp(lambda * (z - margin) - 1.1 * lambda**2 / 2), cap), lambda in {0.5, 1, 2, 3}, both
directions (one for a distance), averaged. The factor 1.1 covers an sd known to 5 %. z - margin is clipped to 10. The cap
keeps one freak window (a hand before the lens) from being an alarm by itself; a smaller e-value is still an e-value.

Example (prints the window that first passes 1/alpha after a step of 3 sd at window 100):
    >>> from cloud.drift.scores import Score
    >>> noise = np.random.Generator(np.random.PCG64(1)).standard_normal(200)
    >>> bank, found = new_bank(("mean",)), None
    >>> for index, z in enumerate(noise + 3.0 * (np.arange(200) >= 100)):
    ...     bank = update(bank, (Score("mean", float(z), 0.6),), at=float(index))
    ...     if log_average((bank,)) > np.log(1000) and found is None:
    ...         found = index
    >>> found
    103

Source: Shin, Ramdas, Rinaldo 2022, "E-detectors: a nonparametric framework for sequential change detection".
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.drift.scores import ONE_SIDED, Score

LAMBDAS = (0.5, 1.0, 2.0, 3.0)
_LAMBDA_ROW = np.array(LAMBDAS)
_PENALTY_ROW = 1.1 * _LAMBDA_ROW**2 / 2.0
_MAX_EXCESS = 10.0
_MAX_LOG_FACTOR = 5.0
# Wealth never needs to be larger, and a finite ceiling keeps the logarithms finite after years of drift.
_MAX_LOG_WEALTH = 200.0
# Far below any sum it enters; stands for M = 0 and, unlike minus infinity, survives JSON.
NO_WEALTH = -1e9
_SMOOTHING = 0.25


class Bank(msgspec.Struct, frozen=True):
    """The wealth of a set of figures.

    `streams` are (figure, +1 or -1). Per stream: `log_wealth` of each lambda, flat; `run`, how many windows in a row lay beyond
    the margin; `run_z`, the sum of their z; `run_at`, when the run began. Per figure: `smooth`, the moving average of z, and the
    last `margins`.
    """

    streams: tuple[tuple[str, int], ...]
    log_wealth: tuple[float, ...]
    run: tuple[int, ...]
    run_z: tuple[float, ...]
    run_at: tuple[float, ...]
    smooth: tuple[float, ...]
    margins: tuple[float, ...]


def new_bank(figures: Sequence[str]) -> Bank:
    """Return a bank of `figures` with no wealth."""
    streams = tuple((name, sign) for name in figures for sign in ((1,) if name in ONE_SIDED else (1, -1)))
    count = len(streams)
    return Bank(
        streams,
        (NO_WEALTH,) * (count * len(LAMBDAS)),
        (0,) * count,
        (0.0,) * count,
        (0.0,) * count,
        (0.0,) * len(figures),
        (0.0,) * len(figures),
    )


def update(bank: Bank, scores: Sequence[Score], at: float) -> Bank:
    """Return `bank` after a window that began at `at` and had `scores`, in the order of the bank's figures."""
    z_of = {score.figure: score for score in scores}
    ordered = [z_of[name] for name, _ in bank.streams]
    z = np.array([sign * score.z for score, (_, sign) in zip(ordered, bank.streams, strict=True)])
    excess = np.clip(z - np.array([score.margin for score in ordered]), -_MAX_EXCESS, _MAX_EXCESS)
    factor = np.minimum(excess[:, None] * _LAMBDA_ROW - _PENALTY_ROW, _MAX_LOG_FACTOR)
    wealth = np.logaddexp(0.0, _log_wealth(bank)) + factor
    beyond = excess > 0.0
    run = np.where(beyond, np.array(bank.run) + 1, 0)
    smooth = [
        old + _SMOOTHING * (min(max(score.z, -_MAX_EXCESS), _MAX_EXCESS) - old)
        for old, score in zip(bank.smooth, scores, strict=True)
    ]
    return Bank(
        bank.streams,
        tuple(np.minimum(wealth, _MAX_LOG_WEALTH).reshape(-1).tolist()),
        tuple(run.tolist()),
        tuple(np.where(beyond, np.array(bank.run_z) + z, 0.0).tolist()),
        tuple(np.where(run == 1, at, np.where(beyond, np.array(bank.run_at), 0.0)).tolist()),
        tuple(smooth),
        tuple(score.margin for score in scores),
    )


def log_average(banks: Sequence[Bank]) -> float:
    """Return the logarithm of the wealth averaged over every stream and lambda of `banks`."""
    wealth = np.concatenate([np.array(bank.log_wealth) for bank in banks])
    top = float(wealth.max())
    return max(top + float(np.log(np.exp(wealth - top).mean())), NO_WEALTH)


def is_quiet(bank: Bank) -> bool:
    """Return whether the recent average of every figure lies within 1 sd of its margin: half a window's noise and no more."""
    figures = dict.fromkeys(name for name, _ in bank.streams)
    return all(
        (smooth if name in ONE_SIDED else abs(smooth)) <= margin + 1.0
        for name, smooth, margin in zip(figures, bank.smooth, bank.margins, strict=True)
    )


def stream_wealth(bank: Bank) -> NDArray[np.float64]:
    """Return the logarithm of each stream's largest wealth over the lambdas, f64[streams]."""
    return np.asarray(_log_wealth(bank).max(axis=1), np.float64)


def _log_wealth(bank: Bank) -> NDArray[np.float64]:
    return np.array(bank.log_wealth).reshape(len(bank.streams), len(LAMBDAS))
