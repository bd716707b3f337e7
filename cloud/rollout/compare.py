"""Whether stations changed with a new bundle, against those that went without it over the same time: pure.

Difference in differences: of each station its share (or log time, or memory) after less its own before; then the mean over those
with the new bundle less the mean over the control group. What comes over the whole fleet, as the day's light does, cancels out.
A station is one observation, for its frames are alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cloud.rollout.clusters import difference
from cloud.rollout.evidence import Compared

MIN_FRAMES = 30
"""Frames a station needs before and after for its shares to say anything."""
MIN_CONTROL = 3
"""Stations of the control group that it takes: their spread is what a change is held against."""
VERDICTS = ("PASS", "REJECT", "REVIEW")


@dataclass(slots=True)
class Frames:
    """What one station decided in one stretch of time. `time_us`: of the `timed` frames whose windows were looked into."""

    decided: int = 0
    passed: int = 0
    rejected: int = 0
    time_us: float = 0.0
    timed: int = 0

    def share(self, verdict: str) -> float:
        """Return the share of a verdict."""
        count = {"PASS": self.passed, "REJECT": self.rejected}.get(verdict, self.decided - self.passed - self.rejected)
        return count / self.decided

    def counts(self) -> dict[str, int]:
        """Return frames by verdict."""
        return {"PASS": self.passed, "REJECT": self.rejected, "REVIEW": self.decided - self.passed - self.rejected}


@dataclass(frozen=True, slots=True)
class Change:
    """A station before and after; memory in MiB, None where it did not say."""

    before: Frames = field(default_factory=Frames)
    after: Frames = field(default_factory=Frames)
    memory_before: float | None = None
    memory_after: float | None = None

    def has_frames(self) -> bool:
        """Return whether its shares say anything."""
        return min(self.before.decided, self.after.decided) >= MIN_FRAMES

    def shift(self, verdict: str) -> float:
        """Return by how much the share of a verdict grew."""
        return self.after.share(verdict) - self.before.share(verdict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What must not be passed, each by its bound at `confidence`. `max_memory_mib` 0: not asked."""

    max_shift: float
    max_latency_ratio: float
    max_memory_mib: float
    confidence: float


def compare(treated: Sequence[Change], control: Sequence[Change], limits: Limits) -> tuple[Compared, ...]:
    """Return the shift of each verdict, the latency ratio and the growth of memory, with bounds.

    The bounds on the verdicts are at a confidence that holds for all of them, up and down, together (Bonferroni). None is
    corrected for being looked at again and again: what is not there is `limits.max_shift` away from stopping anything. With one
    station the control group's spread stands for its own, and never less than what chance does to so many frames; with less than
    three in the control group nothing is known.
    """
    each = 1.0 - (1.0 - limits.confidence) / (2 * len(VERDICTS))
    found = [_shift(verdict, treated, control, limits.max_shift, each) for verdict in VERDICTS]
    found.append(_latency(treated, control, limits.max_latency_ratio, limits.confidence))
    found.append(_memory(treated, control, limits.max_memory_mib, limits.confidence))
    return tuple(found)


def _shift(verdict: str, treated: Sequence[Change], control: Sequence[Change], limit: float, each: float) -> Compared:
    of, against = ([c for c in group if c.has_frames()] for group in (treated, control))
    if why := _too_few(len(of), len(against), f"{MIN_FRAMES} frames before and after"):
        return Compared(verdict, stations=len(of), control=len(against), limit=limit, unknown=why)
    floor2 = sum(_chance2(c, verdict) for c in of) / len(of) ** 2
    value, lower, upper = difference([c.shift(verdict) for c in of], [c.shift(verdict) for c in against], each, floor2)
    stops = lower > limit or upper < -limit
    return Compared(verdict, value, lower, upper, len(of), len(against), limit, stops=stops)


def _latency(treated: Sequence[Change], control: Sequence[Change], limit: float, confidence: float) -> Compared:
    def log_ratio(change: Change) -> float | None:
        before, after = change.before, change.after
        if min(before.timed, after.timed) < MIN_FRAMES or min(before.time_us, after.time_us) <= 0.0:
            return None
        return math.log((after.time_us / after.timed) / (before.time_us / before.timed))

    found = _bounded(
        "latency", treated, control, log_ratio, limit, confidence, f"{MIN_FRAMES} timed frames before and after"
    )
    if found.unknown:
        return found
    # A ratio beyond what a float's exponent holds is as bad as the greatest that it does.
    value, lower, upper = (math.exp(min(x, 100.0)) for x in (found.value, found.lower, found.upper))
    return Compared("latency", value, lower, upper, found.stations, found.control, limit, stops=lower > limit)


def _memory(treated: Sequence[Change], control: Sequence[Change], limit: float, confidence: float) -> Compared:
    def growth(change: Change) -> float | None:
        if change.memory_before is None or change.memory_after is None:
            return None
        return change.memory_after - change.memory_before

    found = _bounded("memory", treated, control, growth, limit, confidence, "memory said before and after")
    if found.unknown or limit <= 0.0 or found.lower <= limit:
        return found
    return Compared("memory", found.value, found.lower, found.upper, found.stations, found.control, limit, stops=True)


def _bounded(
    what: str,
    treated: Sequence[Change],
    control: Sequence[Change],
    value_of: Callable[[Change], float | None],
    limit: float,
    confidence: float,
    takes: str,
) -> Compared:
    of = [x for c in treated if (x := value_of(c)) is not None]
    against = [x for c in control if (x := value_of(c)) is not None]
    if why := _too_few(len(of), len(against), takes):
        return Compared(what, stations=len(of), control=len(against), limit=limit, unknown=why)
    value, lower, upper = difference(of, against, confidence)
    return Compared(what, value, lower, upper, len(of), len(against), limit)


def _too_few(treated: int, control: int, takes: str) -> str:
    if treated == 0:
        return f"no station with the new bundle has {takes} yet"
    if control < MIN_CONTROL:
        return f"it takes {MIN_CONTROL} stations without the new bundle that have {takes}, and there are {control}"
    return ""


def _chance2(change: Change, verdict: str) -> float:
    """Return the variance that chance alone gives a station's change; Laplace's rule keeps a share off 0 and 1."""
    total = 0.0
    for frames in (change.before, change.after):
        share = (frames.share(verdict) * frames.decided + 1.0) / (frames.decided + 2.0)
        total += share * (1.0 - share) / frames.decided
    return total
