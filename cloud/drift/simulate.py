"""A fleet that was never built: stations' windows drawn as sketches, to see how often the detectors cry wolf and how late they are.

Each station has its own parts, noise and light. Light is a daily swing, smooth or a square wave of lamps that are switched, plus
slow noise that remembers the hour before (AR(1)); it moves all statistics by fixed loads, as light does. Windows are drawn as means
of so many frames, so that a week of two thousand stations takes minutes. What a drift does to the statistics of single frames was
measured on the magnetic tiles (`UPSETS`, in standard deviations between tiles).

Example:
    >>> plant = Plant(stations=3, enrol_days=1, watch_days=1, drifting=0.4, seed=7)
    >>> [drift.station for drift in drifts(plant)]
    ['s00002']
    >>> sum(1 for _ in windows(plant))
    144
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cloud.drift.observation import Observation
from cloud.drift.vectors import Vector
from contract.sketches.label_counts import confidence_centres
from contract.sketches.moments import N_STATISTICS, STATISTICS
from contract.sketches.projection import FOURIER, PROJECTIONS
from contract.sketches.window import FEATURES_VERSION

DAY_S, HOUR_S = 86_400.0, 3_600.0
# Monday, the second of November 2026, midnight.
STARTED_AT = 1_793_577_600.0

UPSETS: dict[str, dict[str, float]] = {
    "exposure step": {
        "mean": 1.28,
        "spread": 0.72,
        "entropy": 0.68,
        "saturated": 0.8,
        "p05": 0.65,
        "p95": 1.27,
        "sharpness": 0.56,
    },
    "gain +10 %": {"mean": 0.71, "spread": 0.47, "saturated": 0.35, "p05": 0.3, "p95": 0.73, "sharpness": 0.35},
    "defocus": {"spread": -0.12, "entropy": -0.16, "sharpness": -2.46, "grain": -4.18},
    "dust": {"specks": 0.7, "grain": -0.3},
    "more defects": {},
}
"""Shift of each statistic in standard deviations of single frames; "more defects" moves the labels alone."""

_LIGHT = {
    "mean": 1.0,
    "p05": 0.7,
    "p95": 1.0,
    "spread": 0.5,
    "entropy": 0.3,
    "saturated": 0.4,
    "sharpness": 0.4,
    "vignette": 0.2,
}
_LABELS = np.array([0.88, 0.06, 0.04, 0.02])
_MORE_DEFECTS = np.array([0.70, 0.18, 0.08, 0.04])


@dataclass(frozen=True, slots=True)
class Plant:
    """What is drawn.

    `drifting`: the share of stations that drift, each from an hour of the watched days on. `memory`: the range of the light's
    autocorrelation from hour to hour. `slow_sd`, `daily_sd`: ranges of the size of slow noise and of the daily swing, in standard
    deviations of single frames. `scene_sd`: of how far the scene sways along some direction, alike; `mix_sd`: of the logarithms
    of the shares of labels, from lot to lot; both remember as light does. `square`: lamps are switched instead. `outliers`: share
    of windows thrown far off by something that passes.
    """

    stations: int = 2_000
    enrol_days: int = 7
    watch_days: int = 7
    frames: int = 60
    drifting: float = 0.04
    memory: tuple[float, float] = (0.3, 0.95)
    slow_sd: tuple[float, float] = (0.05, 0.3)
    daily_sd: tuple[float, float] = (0.1, 0.8)
    scene_sd: tuple[float, float] = (0.0, 0.1)
    mix_sd: tuple[float, float] = (0.0, 0.2)
    square: bool = False
    outliers: float = 0.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Drift:
    """`station` has the `upset` from the window on that begins at `since`."""

    station: str
    upset: str
    since: float


def name_of(index: int) -> str:
    """Return the name of a station, 0-based."""
    return f"s{index:05d}"


def drifts(plant: Plant) -> tuple[Drift, ...]:
    """Return which stations drift, how, and from when on; in order of their names."""
    rng = np.random.Generator(np.random.PCG64([plant.seed, 0]))
    chosen = np.sort(rng.choice(plant.stations, round(plant.drifting * plant.stations), replace=False))
    kinds = list(UPSETS)
    hours = rng.integers(0, max(plant.watch_days * 24 - 24, 1), chosen.size)
    begin = STARTED_AT + plant.enrol_days * DAY_S
    return tuple(
        Drift(name_of(int(station)), kinds[turn % len(kinds)], begin + float(hour) * HOUR_S)
        for turn, (station, hour) in enumerate(zip(chosen, hours, strict=True))
    )


def windows(plant: Plant) -> Iterator[tuple[str, Observation]]:
    """Yield (station, hourly window) of the whole fleet, hour by hour."""
    upset = {drift.station: drift for drift in drifts(plant)}
    lines = [_Line(plant, index, upset.get(name_of(index))) for index in range(plant.stations)]
    for day in range(plant.enrol_days + plant.watch_days):
        today = [line.day(day) for line in lines]
        for hour in range(24):
            for line, drawn in zip(lines, today, strict=True):
                yield line.name, drawn[hour]


class _Line:
    """One station: its normal, its light, and its random numbers, a day at a time."""

    def __init__(self, plant: Plant, index: int, drift: Drift | None) -> None:
        self.name, self._plant, self._drift = name_of(index), plant, drift
        rng = self._rng = np.random.Generator(np.random.PCG64([plant.seed, 1, index]))
        self._sd = rng.uniform(0.02, 0.08, N_STATISTICS)
        self._centre = rng.uniform(0.3, 0.6, N_STATISTICS)
        # Frames of a station differ by a few causes, so their statistics move together.
        mixing = rng.normal(0, 1, (N_STATISTICS, 4))
        covariance = mixing @ mixing.T + np.eye(N_STATISTICS)
        scale = np.sqrt(np.diagonal(covariance))
        self._correlation = covariance / np.outer(scale, scale)
        self._root = np.linalg.cholesky(self._correlation)
        self._covariance = (self._correlation * np.outer(self._sd, self._sd)).astype("<f4").tobytes()
        self._phi = rng.uniform(*plant.memory)
        self._slow_sd = rng.uniform(*plant.slow_sd)
        self._daily, self._late = rng.uniform(*plant.daily_sd), rng.uniform(0, 24)
        self._slow = self._slow_sd * rng.normal()
        self._scene_sd, self._mix_sd = rng.uniform(*plant.scene_sd), rng.uniform(*plant.mix_sd)
        self._sway, self._lot = self._scene_sd * rng.normal(), self._mix_sd * rng.normal()
        self._scene_way, self._mix_way = rng.normal(0, 1, PROJECTIONS), rng.normal(0, 1, _LABELS.size)
        self._load = _loads(_LIGHT) * rng.uniform(0.6, 1.4, N_STATISTICS)
        self._logit = rng.uniform(2.0, 4.0)
        self._seq = 0

    def day(self, day: int) -> list[Observation]:
        rng, plant = self._rng, self._plant
        hours: Vector = np.arange(24.0 * day, 24.0 * day + 24.0)
        begins = STARTED_AT + hours * HOUR_S
        frames = np.maximum(rng.poisson(plant.frames, 24), 8)
        swing = np.sin(2.0 * np.pi * (hours - self._late) / 24.0)
        swing = np.sign(swing) if plant.square else swing * 2.0**0.5
        self._slow, slow = self._wander(self._slow, self._slow_sd)
        self._sway, sway = self._wander(self._sway, self._scene_sd)
        self._lot, lot = self._wander(self._lot, self._mix_sd)
        light = self._daily * swing + slow
        shift, labels, logit = np.zeros((24, N_STATISTICS)), np.tile(_LABELS, (24, 1)), np.full(24, self._logit)
        if self._drift is not None:
            on = begins >= self._drift.since
            shift[on] = _loads(UPSETS[self._drift.upset])
            if self._drift.upset == "more defects":
                labels[on] = _MORE_DEFECTS
            else:
                logit[on] -= 0.8
        if plant.outliers:
            thrown = rng.random(24) < plant.outliers
            shift[thrown] += rng.normal(0, 8.0, (int(thrown.sum()), N_STATISTICS))
        noise = rng.normal(0, 1, (24, N_STATISTICS)) @ self._root.T / np.sqrt(frames)[:, None]
        means = self._centre + self._sd * (light[:, None] * self._load + shift + noise)
        labels = labels * np.exp(lot[:, None] * self._mix_way)
        labels /= labels.sum(axis=1, keepdims=True)
        projection = rng.normal(0, 1, (24, PROJECTIONS)) / np.sqrt(frames)[:, None] + sway[:, None] * self._scene_way
        fourier = 0.7 * rng.normal(0, 1, (24, FOURIER)) / np.sqrt(frames)[:, None]
        answers = np.stack([rng.multinomial(count, shares) for count, shares in zip(frames, labels, strict=True)])
        sure = np.stack(
            [rng.multinomial(count, _confidence(level)) for count, level in zip(frames, logit, strict=True)]
        )
        centres = confidence_centres()
        mean = sure @ centres / frames
        spread = np.sqrt(np.maximum(sure @ (centres * centres) / frames - mean * mean, 0.0))
        sds = self._sd.astype("<f4").tobytes()
        ones = np.ones(PROJECTIONS, "<f4").tobytes()
        rows = zip(
            means.astype("<f4"),
            projection.astype("<f4"),
            fourier.astype("<f4"),
            answers.tolist(),
            sure.tolist(),
            strict=True,
        )
        drawn = []
        for hour, (row, projected, features, told, how_sure) in enumerate(rows):
            self._seq += 1
            drawn.append(
                Observation(
                    boot="simulated",
                    seq=self._seq,
                    started_at=float(begins[hour]),
                    ended_at=float(begins[hour]) + HOUR_S,
                    frames=int(frames[hour]),
                    features=FEATURES_VERSION,
                    seed=0,
                    reference="simulated",
                    artefact="simulated",
                    means=row.tobytes(),
                    sds=sds,
                    covariance=self._covariance,
                    projection=projected.tobytes(),
                    projection_variances=ones,
                    fourier=features.tobytes(),
                    labels=tuple(told),
                    confidences=tuple(how_sure),
                    confidence=(float(mean[hour]), float(spread[hour])),
                    distinct=float(frames[hour]),
                )
            )
        return drawn

    def _wander(self, last: float, sd: float) -> tuple[float, Vector]:
        """Return (the last, all f64[24]) of a day of slow noise that goes on from `last`."""
        values = np.empty(24)
        for hour, news in enumerate(self._rng.normal(0, sd * (1.0 - self._phi**2) ** 0.5, 24)):
            values[hour] = last = self._phi * last + news
        return last, values


def _loads(named: dict[str, float]) -> Vector:
    return np.array([named.get(name, 0.0) for name in STATISTICS])


def _confidence(logit: float) -> Vector:
    """Return the probabilities f64[64] of the bins of a logit confidence of this mean and sd 1.2."""
    weights = np.exp(-0.5 * ((confidence_centres() - logit) / 1.2) ** 2)
    return np.asarray(weights / weights.sum())
