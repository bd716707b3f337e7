"""How far a figure lies from where it always lay: a z-score that knows seasons, slow noise and window sizes.

Idea: a window's mean varies by the frames that happen to be in it (within / n) and by everything slower than a window (between).
What is slower is also like itself an hour ago, so a raw z-score would cry out ten times for one warm afternoon: only the news
in a window, what the last one did not foretell, is evidence.

Formula: residual r = (value - centre - season(t)) / sqrt(between + within / n); news e = (r - p clip(r', +-3)) / sqrt(1 - p^2)
with p = phi^gap, r' the residual of the window before and gap the windows between. The clip bounds what a window can take back
from the next: after a step every window is news, instead of the first alone (Masreliez and Martin 1977, bounded influence).

Margin: what a shift must exceed before it counts, the larger of 3 standard errors of the centre and a tolerance in standard
deviations of single frames (DESIGN 4.3). Without the first a baseline of few windows makes every later one look drifted (the
finite-reference trap); without the second everything is significant at large n.

Widening: sd and phi themselves come from few windows; sd is raised to its upper 80 % confidence bound, phi to its upper 90 % one: a
memory taken for shorter than it is makes news of one slow swing, window after window.

Parameters: `floors`, the least sd of each figure.

Example (24 windows of mean 0.5 and sd 0.1; the next has 0.9):
    >>> noise = np.random.Generator(np.random.PCG64(3)).normal(0.5, 0.1, (24, 1))
    >>> levels = fit_levels(("mean",), None, noise, np.zeros(1), np.full(24, 10.0), floors=np.full(1, 1e-3))
    >>> residual = levels.residual(np.array([0.9]), 10, None)
    >>> bool(2.0 < residual[0] < 4.0)
    True

Source: Box and Jenkins 1970 (AR(1) residuals); Kendall 1954 (its bias); Wilson and Hilferty 1931 (chi-squared quantile).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np

from cloud.drift.detectors.season import Season, fit_season
from cloud.drift.policy import MIN_ENROL_WINDOWS
from cloud.drift.vectors import Vector, from_bytes, to_bytes
from contract.errors import SketchMismatch

_STANDARD_ERRORS = 3.0
_CLIP_SD = 3.0
_UPPER_80, _UPPER_90 = 0.8416, 1.2816
_LEAST_WORTH = 2.0
_LEAST_FREEDOM = 4.0
_MAX_PHI = 0.97
# Two windows this many periods apart say nothing about one another.
_FORGOTTEN = 200.0


@dataclass(frozen=True, slots=True, eq=False)
class Before:
    """The `residual` f64[F] of the window judged before, which began `gap_s` seconds before this one, and that of the one before
    it, `earlier` f64[F] or empty."""

    residual: Vector
    gap_s: float
    earlier: Vector = field(default_factory=lambda: np.zeros(0))


class Levels(msgspec.Struct, frozen=True):
    """Normal of F figures. Vectors are f64[F]: `centre`, variances `between` (widened) and `within` (of frames), `sd` of the mean
    of a usual window (not widened), lag-one autocorrelation `phi`, least sds `floors`.

    `windows` made it, `usual` frames each (harmonic mean), `period_s` apart; where frames came again and again they are worth
    `worth` windows for the centre.
    """

    names: tuple[str, ...]
    windows: int
    worth: float
    usual: float
    period_s: float
    centre: bytes
    between: bytes
    within: bytes
    sd: bytes
    phi: bytes
    floors: bytes
    season: Season

    def residual(self, values: Vector, frames: float, at: float | None) -> Vector:
        """Return how many sd each of `values` f64[F], means over so many frames, lies from normal at the moment `at`.

        None is a moment not known: the season is then part of what is normal.
        """
        if at is None or not self.season.knows(at):
            return np.asarray((values - from_bytes(self.centre)) / self.spread(frames, self.season.variance()))
        return np.asarray((values - from_bytes(self.centre) - self.season.at(at)) / self.spread(frames))

    def news(self, residual: Vector, before: Before | None) -> tuple[Vector, Vector]:
        """Return (news, foretold) f64[F] each: the part of `residual` that the window before does not foretell, in its own sd,
        and p, how much of it is foretold. Without a window before, all is news."""
        if before is None:
            return residual, np.zeros(residual.size)
        if self.period_s <= 0.0:
            return residual, np.zeros(residual.size)
        gap = min(max(before.gap_s / self.period_s, 1.0), _FORGOTTEN)
        phi = from_bytes(self.phi)
        p = phi**gap
        news = (residual - p * np.clip(before.residual, -_CLIP_SD, _CLIP_SD)) / np.sqrt(1.0 - p * p)
        wild = np.abs(before.residual) > _CLIP_SD
        if before.earlier.size and wild.any():
            # Something that passed foretells nothing: the window after it is measured by the one before it, too.
            q = p * phi
            past_it = (residual - q * np.clip(before.earlier, -_CLIP_SD, _CLIP_SD)) / np.sqrt(1.0 - q * q)
            news = np.where(wild & (np.abs(past_it) < np.abs(news)), past_it, news)
        return news, p

    def margin(self, frames: float, foretold: Vector, tolerance: float) -> Vector:
        """Return the margin of each figure's news, f64[F], given what `news` said was foretold."""
        sd = self.spread(frames)
        trifle = tolerance * np.sqrt(from_bytes(self.within))
        # A lasting shift is only news by the part that is not foretold.
        lasting = np.sqrt((1.0 - foretold) / (1.0 + foretold))
        return np.asarray(np.maximum(_STANDARD_ERRORS * self.error(), trifle) * lasting / sd)

    def error(self) -> Vector:
        """Return the standard error of each centre, f64[F]."""
        phi = from_bytes(self.phi)
        return np.asarray(from_bytes(self.sd) * np.sqrt((1.0 + phi) / (1.0 - phi) / self.worth))

    def spread(self, frames: float, more: Vector | float = 0.0) -> Vector:
        """Return the sd of each figure's mean over so many frames, f64[F]; `more` is added to its variance."""
        variance = from_bytes(self.between) + from_bytes(self.within) / max(frames, 1.0) + more
        return np.sqrt(np.maximum(variance, from_bytes(self.floors) ** 2))


def sd_inflation(freedom: int) -> float:
    """Return by how much to widen an sd with so many degrees of freedom: sqrt(f / chi2_{20 %, f})."""
    freedom = max(freedom, 1)
    spread = 2.0 / (9.0 * freedom)
    quantile = freedom * max(1.0 - spread - _UPPER_80 * spread**0.5, 0.05) ** 3
    return float((freedom / quantile) ** 0.5)


def fit_levels(
    names: tuple[str, ...],
    times: Vector | None,
    values: Vector,
    within: Vector,
    frames: Vector,
    *,
    floors: Vector,
    gaps_s: Vector | None = None,
    independent: bool = False,
    distinct: float = 1.0,
) -> Levels:
    """Return the normal of F figures.

    Args:
        names: of the figures.
        times: f64[N], Unix seconds, in order; None when the clock was not trusted.
        values: f64[N,F], each a mean over `frames` f64[N].
        within: f64[F], the variance of each figure over frames.
        floors: f64[F], the least sd of each.
        gaps_s: f64[N-1], seconds from the beginning of each window to that of the next; None where windows have no order in time,
            and then nothing is foretold.
        distinct: share of the frames that differ from all others. Fifty parts that went round ten times are fifty parts: the centre
            is theirs, and not that of the parts to come.
        independent: frames were put into windows by chance, so that windows differ by their frames alone.
    Raises:
        SketchMismatch: fewer than 12 windows.
    """
    windows = len(values)
    check_enough(windows)
    season = Season(b"", len(names)) if times is None else fit_season(times, values)
    flat = values if times is None else values - np.stack([season.at(moment) for moment in times])
    centre = frames @ flat / frames.sum()
    residual = flat - centre
    if gaps_s is None and times is not None:
        gaps_s = np.diff(times)
    gaps = np.zeros(windows - 1) if gaps_s is None else gaps_s
    forward = gaps[gaps > 0.0]
    period_s = float(np.median(forward)) if forward.size else 0.0
    near = (gaps > 0.0) & (gaps < 1.5 * period_s)
    power = np.maximum((residual * residual).sum(axis=0), 1e-18)
    pairs = max(int(near.sum()), 4)
    phi = (
        (residual[1:] * residual[:-1])[near].sum(axis=0) / power * windows / pairs
        if near.any()
        else np.zeros(len(names))
    )
    terms = 1.0 + season.terms()
    if near.any():
        phi = np.clip((phi + terms / pairs) / (1.0 - 3.0 / pairs), 0.0, _MAX_PHI)
        phi = np.clip(phi + _UPPER_90 * np.sqrt((1.0 - phi * phi) / pairs), 0.0, _MAX_PHI)
    steps = (residual[1:] - phi * residual[:-1])[near] if near.any() else residual
    freedom = np.maximum(len(steps) - terms, 3.0)
    variance = (steps * steps).sum(axis=0) / freedom / (1.0 - (phi * phi if near.any() else 0.0))
    # News is as many as windows; but a distance is no sum, its memory no AR(1), and slow swings of it are few.
    swings = np.where(within > 0.0, freedom, np.maximum(freedom * (1.0 - phi) / (1.0 + phi), _LEAST_FREEDOM))
    widening = np.array([sd_inflation(int(count)) for count in swings]) ** 2
    usual = windows / float((1.0 / frames).sum())
    between = np.maximum(variance * widening - within / usual, 0.0)
    if independent:
        phi = np.zeros(len(names))
        between = np.where(within > 0.0, 0.0, residual.var(axis=0, ddof=1) * sd_inflation(windows - 1) ** 2)
        variance = np.where(within > 0.0, within / usual, residual.var(axis=0, ddof=1))
    return Levels(
        names,
        windows,
        max(windows * distinct, _LEAST_WORTH),
        usual,
        period_s,
        to_bytes(centre),
        to_bytes(between),
        to_bytes(within),
        to_bytes(np.sqrt(variance)),
        to_bytes(phi),
        to_bytes(floors),
        season,
    )


def check_enough(windows: int) -> None:
    """Raise SketchMismatch when so many windows make no baseline."""
    if windows < MIN_ENROL_WINDOWS:
        raise SketchMismatch(f"{windows} windows make no baseline", hint=f"enrol at least {MIN_ENROL_WINDOWS} windows")
