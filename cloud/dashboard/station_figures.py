"""What a station's stored windows come to: figures for its page's charts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cloud.drift.baseline import InputBaseline
from cloud.drift.vectors import from_bytes
from cloud.store.station_history import StoredWindow
from contract.codec import decode_summary
from contract.errors import BadMessage, SketchMismatch
from contract.messages import Accounting, HealthNote
from contract.sketches.label_counts import latency_quantile_us
from contract.sketches.moments import N_STATISTICS
from contract.sketches.window import MAX_FRAMES, Window, merge
from contract.sketches.wire import from_wire

POINTS = 96
"""So many points in a chart over time at most: what is closer together is one."""

NOW_S = 3_600.0
"""What a camera sees now is what it saw within its newest hour."""

RANGE_SD = 3.0
QUANTILES = (0.5, 0.95, 0.99)

NAMES = (
    "brightness", "contrast", "entropy", "dark pixels", "saturated pixels", "darkest 5 %", "specks", "brightest 5 %",
    "sharpness", "grain", "vignette", "tilt of light",
)  # fmt: skip
"""The statistics of `contract.sketches.moments.STATISTICS`, as people call them."""


@dataclass(frozen=True, slots=True)
class TimePoint:
    """Frames from `at` on (Unix seconds) until the next point; latencies in ms, None where no frame says; the newest health."""

    at: float
    passed: int
    rejected: int
    review: int
    lost: int
    latency_ms: tuple[float, float, float] | None
    health: HealthNote | None


@dataclass(frozen=True, slots=True)
class StatisticNow:
    """A statistic's mean now against the range of its enrolled normal; `z`: how many of its sd it lies from the middle."""

    name: str
    now: float
    low: float
    high: float
    z: float

    @property
    def inside(self) -> bool:
        """Whether it is within its range."""
        return self.low <= self.now <= self.high


@dataclass(frozen=True, slots=True, eq=False)
class StationFigures:
    """One camera over a time.

    `histograms` int64[12,64] of now, `before` of the same sketch before; `labels` are how often each label was the answer now, by
    number. `unreadable` windows are of a version that this one cannot read.
    """

    cameras: tuple[str, ...] = ()
    windows: int = 0
    points: tuple[TimePoint, ...] = ()
    frames_now: int = 0
    bundle: str = ""
    statistics: tuple[StatisticNow, ...] = ()
    histograms: NDArray[np.int64] = field(default_factory=lambda: np.zeros((N_STATISTICS, 64), np.int64))
    before: NDArray[np.int64] = field(default_factory=lambda: np.zeros((N_STATISTICS, 64), np.int64))
    labels: tuple[int, ...] = ()
    unreadable: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    at: float
    camera: str
    bundle: str
    accounting: Accounting
    health: HealthNote | None
    window: Window | None


def figures_of(stored: Sequence[StoredWindow], camera: str, baseline: InputBaseline | None) -> StationFigures:
    """Return the figures of one camera's windows among those of a station, which are oldest first."""
    read, unreadable = [], 0
    for each in stored:
        try:
            summary = decode_summary(each.payload)
            window = from_wire(summary.window) if summary.window is not None and each.camera == camera else None
        except (BadMessage, SketchMismatch):
            unreadable += 1
            continue
        read.append(_Read(each.at, each.camera, each.bundle, summary.accounting, summary.health, window))
    cameras = tuple(sorted({each.camera for each in read}))
    mine = [each for each in read if each.camera == camera]
    sketched = [each for each in mine if each.window is not None]
    if not sketched:
        return StationFigures(cameras, len(mine), _points(mine), unreadable=unreadable)
    newest = sketched[-1]
    now, before = _merged(sketched, newest, newest.at - NOW_S)
    return StationFigures(
        cameras=cameras,
        windows=len(mine),
        points=_points(mine),
        frames_now=now.frames,
        bundle=newest.bundle,
        statistics=against_normal(now, baseline, newest.at) if baseline is not None else (),
        histograms=now.histograms(),
        before=before,
        labels=tuple(now.label_counts().tolist()),
        unreadable=unreadable,
    )


def against_normal(now: Window, baseline: InputBaseline, at: float) -> tuple[StatisticNow, ...]:
    """Return the means of a window of the time `at` against a station's normal; () of a window without frames."""
    levels = baseline.levels
    if now.frames == 0:
        return ()
    centre = from_bytes(levels.centre)
    known = levels.season.knows(at)
    if known:
        centre = centre + levels.season.at(at)
    spread = levels.spread(now.frames) if known else levels.spread(now.frames, levels.season.variance())
    found = []
    for number, value in enumerate(now.means().tolist()):
        middle, sd = float(centre[number]), float(spread[number])
        found.append(
            StatisticNow(NAMES[number], value, middle - RANGE_SD * sd, middle + RANGE_SD * sd, (value - middle) / sd)
        )
    return tuple(found)


def _merged(sketched: Sequence[_Read], newest: _Read, since: float) -> tuple[Window, NDArray[np.int64]]:
    """Return (the newest windows as one, histograms of all others of the same sketch)."""
    assert newest.window is not None
    now, before = newest.window, np.zeros((N_STATISTICS, 64), np.int64)
    for each in reversed(sketched[:-1]):
        window = each.window
        if window is None or window.identity != now.identity:
            continue
        if each.at >= since and now.frames + window.frames <= MAX_FRAMES:
            now = merge(window, now)
        else:
            before = before + window.histograms()
    return now, before


def _points(read: Sequence[_Read]) -> tuple[TimePoint, ...]:
    if not read:
        return ()
    first, last = read[0].at, read[-1].at
    size = max((last - first) / POINTS, 1.0)
    groups: dict[int, list[_Read]] = {}
    for each in read:
        groups.setdefault(int((each.at - first) // size), []).append(each)
    return tuple(_point(groups[number]) for number in sorted(groups))


def _point(read: Sequence[_Read]) -> TimePoint:
    latency = _sum(each.window.latency_histogram() for each in read if each.window is not None)
    quantiles = None
    if latency is not None and latency.sum() > 0:
        p50, p95, p99 = (latency_quantile_us(latency, share) / 1000.0 for share in QUANTILES)
        quantiles = (p50, p95, p99)
    healths = [each.health for each in read if each.health is not None]
    counts = [each.accounting for each in read]
    return TimePoint(
        at=read[0].at,
        passed=sum(each.passed for each in counts),
        rejected=sum(each.rejected for each in counts),
        review=sum(sum(each.review.values()) for each in counts),
        lost=sum(sum(each.dropped.values()) + each.undecided for each in counts),
        latency_ms=quantiles,
        health=healths[-1] if healths else None,
    )


def _sum(histograms: Iterable[NDArray[np.int64]]) -> NDArray[np.int64] | None:
    total: NDArray[np.int64] | None = None
    for each in histograms:
        total = each.copy() if total is None else total + each
    return total
