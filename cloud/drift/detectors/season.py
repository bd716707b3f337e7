"""What time of day and week do to a figure: daylight, shifts, a hall that warms up.

Idea: daylight through a window moves every light figure each day by more than a fogged lens does. What repeats is learnt and
taken away before anything is judged.

Formula: value(t) = centre + sum over h <= H of (a_h cos + b_h sin)(2 pi h t / day) + (a cos + b sin)(2 pi t / week) + residual.
H <= 4 is chosen per figure by the Bayesian information criterion, on values prewhitened with the residuals' first
autocorrelation: slow noise would pass for a season otherwise.

Parameters: none to choose. Daily harmonics are fitted once 1.5 days are in, the weekly one after 13.5 days; with less, or with a
clock that the station did not trust, there is no season.

Example (24 hours x 7 days of a figure that swings by 2):
    >>> times = np.arange(168) * 3600.0
    >>> values = 5.0 + 2.0 * np.cos(2 * np.pi * times / 86400)[:, None]
    >>> values = values + np.random.Generator(np.random.PCG64(1)).normal(0, 0.1, (168, 1))
    >>> season = fit_season(times, values)
    >>> [round(float(season.at(hour * 3600.0)[0]), 1) for hour in (0, 6, 12)]
    [2.0, 0.0, -2.0]

Source: harmonic regression, Harvey 1989, "Forecasting, Structural Time Series Models and the Kalman Filter", ch. 2;
prewhitening: Cochrane and Orcutt 1949; the criterion: Schwarz 1978.
"""

from __future__ import annotations

import msgspec
import numpy as np

from cloud.drift.vectors import Vector, from_bytes, to_bytes

DAY_S = 86_400.0
_HOUR_S = 3_600.0
HARMONICS = 4
_COLUMNS = 2 * HARMONICS + 2
_DAILY_AFTER_S = 1.5 * DAY_S
_WEEKLY_AFTER_S = 13.5 * DAY_S
_FASTER = 2.0 * np.pi * np.array([*range(1, HARMONICS + 1), 1.0 / 7.0]) / DAY_S
# Harmonics faster than four windows a swing would be fitted to noise.
_WINDOWS_A_SWING = 4.0
_MAX_PHI = 0.97


class Season(msgspec.Struct, frozen=True):
    """`coefficients` f64[10,F] of cos and sin of the daily harmonics 1..4 and of the week; b"" without a season.

    `hours`: a bit for each hour of the day (UTC) that was enrolled, or the one before or after it.
    """

    coefficients: bytes = b""
    figures: int = 0
    hours: int = 0

    def knows(self, moment: float) -> bool:
        """Return whether some window at about this hour of the day was enrolled: beyond, harmonics are a guess."""
        return not self.coefficients or bool(self.hours >> int(moment % DAY_S // _HOUR_S) & 1)

    def at(self, moment: float) -> Vector:
        """Return what the season adds to each figure at `moment` (Unix seconds), f64[F]."""
        if not self.coefficients:
            return np.zeros(self.figures)
        return np.asarray(_row(moment) @ self._matrix())

    def variance(self) -> Vector:
        """Return the variance of each figure over the season, f64[F]: what to allow for when the time is not known."""
        if not self.coefficients:
            return np.zeros(self.figures)
        return np.asarray((self._matrix() ** 2).sum(axis=0) / 2.0)

    def terms(self) -> Vector:
        """Return how many coefficients each figure uses, f64[F]."""
        if not self.coefficients:
            return np.zeros(self.figures)
        return np.asarray((self._matrix() != 0.0).sum(axis=0).astype(np.float64))

    def _matrix(self) -> Vector:
        return from_bytes(self.coefficients).reshape(_COLUMNS, self.figures)


def fit_season(times: Vector, values: Vector) -> Season:
    """Return the season of `values` f64[N,F] seen at `times` f64[N], in Unix seconds and in order."""
    figures = values.shape[1]
    span = float(times.max() - times.min()) if times.size else 0.0
    swings = times.size / max(span / DAY_S, 1e-9) / _WINDOWS_A_SWING
    most = min(HARMONICS, int(swings), (times.size // 8 - 1) // 2)
    if span < _DAILY_AFTER_S or most < 1:
        return Season(b"", figures)
    design = np.stack([_row(moment) for moment in times])
    weekly = [_COLUMNS - 2, _COLUMNS - 1] if span >= _WEEKLY_AFTER_S else []
    choices = [[*range(2 * h), *week] for h in range(most + 1) for week in ([], weekly)[: 2 if weekly else 1]]
    phi = _autocorrelation(values - _fitted(design[:, choices[-1]], values))
    ones = np.ones((times.size, 1))
    coefficients = np.zeros((_COLUMNS, figures))
    for figure in range(figures):
        best = np.inf
        target = _whiten(values[:, figure], phi[figure])
        whole = _whiten(np.concatenate((ones, design), axis=1), phi[figure])
        for columns in choices:
            part = whole[:, [0, *(1 + column for column in columns)]]
            solution = np.linalg.lstsq(part, target, rcond=None)[0]
            error = float(np.mean((target - part @ solution) ** 2))
            criterion = target.size * np.log(max(error, 1e-18)) + part.shape[1] * np.log(target.size)
            if criterion < best:
                best = criterion
                coefficients[:, figure] = 0.0
                coefficients[columns, figure] = solution[1:]
    if not coefficients.any():
        return Season(b"", figures)
    seen = {int(moment % DAY_S // _HOUR_S) for moment in times}
    near = {(hour + step) % 24 for hour in seen for step in (-1, 0, 1)}
    return Season(to_bytes(coefficients), figures, sum(1 << hour for hour in near))


def _row(moment: float) -> Vector:
    angles = _FASTER * moment
    row = np.empty(_COLUMNS)
    row[0::2], row[1::2] = np.cos(angles), np.sin(angles)
    return row


def _fitted(design: Vector, values: Vector) -> Vector:
    whole = np.concatenate((np.ones((design.shape[0], 1)), design), axis=1)
    return np.asarray(whole @ np.linalg.lstsq(whole, values, rcond=None)[0])


def _autocorrelation(residuals: Vector) -> Vector:
    power = np.maximum((residuals * residuals).sum(axis=0), 1e-18)
    return np.asarray(np.clip((residuals[1:] * residuals[:-1]).sum(axis=0) / power, 0.0, _MAX_PHI))


def _whiten(values: Vector, phi: float) -> Vector:
    return np.asarray(values[1:] - phi * values[:-1])
