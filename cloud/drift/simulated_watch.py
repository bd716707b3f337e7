"""What the detectors say of a simulated fleet: false flags, false discoveries, and how late the true ones are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scipy.special import gammaincinv

from cloud.drift.fleet import FleetDrift
from cloud.drift.fleet_status import EventKind
from cloud.drift.policy import DriftPolicy
from cloud.drift.simulate import DAY_S, HOUR_S, STARTED_AT, UPSETS, Drift, Plant, drifts, windows


@dataclass(frozen=True, slots=True)
class Flag:
    """An alarm that a station did not deserve: it never drifted, or not yet."""

    station: str
    hour: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """`station_days` watched without a drift, 0 where every station drifted from the first hour on; `false_flags` and
    `shared_flags` (of cohorts or the fleet) were raised in them.

    `early` were raised while stations still enrolled, in the days before. `delays_h`: hours from the start of each drift to the
    end of the window that raised its alarm, None where it never was.
    """

    plant: Plant
    station_days: float
    false_flags: tuple[Flag, ...]
    shared_flags: tuple[Flag, ...]
    early: int
    delays_h: tuple[tuple[Drift, float | None], ...]

    @property
    def flags_per_1000(self) -> float:
        """False flags per 1,000 station-days; 0 where there are none of those."""
        return 1000.0 * len(self.false_flags) / self.station_days if self.station_days > 0.0 else 0.0

    @property
    def false_share(self) -> float:
        """False discoveries among all: what was flagged falsely, of what was flagged."""
        true = sum(delay is not None for _, delay in self.delays_h)
        return len(self.false_flags) / max(len(self.false_flags) + true, 1)

    def median_delay_h(self, upset: str) -> float | None:
        """Return the median delay of one kind of drift, a drift never found being the longest; None when there were none."""
        delays = sorted(
            (float("inf") if delay is None else delay for drift, delay in self.delays_h if drift.upset == upset)
        )
        return delays[(len(delays) - 1) // 2] if delays else None


def watch_fleet(plant: Plant, policy: DriftPolicy, progress: Callable[[int, int], None] | None = None) -> Outcome:
    """Return what the detectors say of `plant`; `progress` is told (day, of how many)."""
    fleet = FleetDrift(policy)
    upset = {drift.station: drift for drift in drifts(plant)}
    watched_from = STARTED_AT + plant.enrol_days * DAY_S
    false_flags: list[Flag] = []
    shared_flags: list[Flag] = []
    found: dict[str, float] = {}
    early, today = 0, -1
    for station, seen in windows(plant):
        day = int((seen.started_at - STARTED_AT) // DAY_S)
        if progress is not None and day != today:
            today = day
            progress(day, plant.enrol_days + plant.watch_days)
        for event in fleet.take(station, seen):
            drift = upset.get(event.subject)
            flag = Flag(event.subject, round((seen.started_at - watched_from) / HOUR_S), event.sentence)
            if event.kind is EventKind.SHARED_ALARM_RAISED:
                shared_flags.append(flag)
            elif event.kind is not EventKind.ALARM_RAISED:
                continue
            elif drift is not None and seen.started_at >= drift.since:
                found.setdefault(event.subject, (seen.ended_at - drift.since) / HOUR_S)
            elif seen.started_at < watched_from:
                early += 1
            else:
                false_flags.append(flag)
    ends = watched_from + plant.watch_days * DAY_S
    drifted_days = sum((ends - drift.since) / DAY_S for drift in upset.values())
    return Outcome(
        plant,
        # Hours are added up in floats.
        max(round(plant.stations * plant.watch_days - drifted_days, 6), 0.0),
        tuple(false_flags),
        tuple(shared_flags),
        early,
        tuple((drift, found.get(drift.station)) for drift in upset.values()),
    )


def hourly_policy(enrol_days: int) -> DriftPolicy:
    """Return the policy of a fleet that is learnt for so many days of hourly windows before it is judged."""
    windows = max(24 * enrol_days, 12)
    return DriftPolicy(enrol_windows=windows, settle_windows=windows, reorder_windows=1)


def figures_of(outcome: Outcome) -> dict[str, float]:
    """Return the outcome as flat figures, with the exact 95 % interval of the rate of false flags (Garwood 1936); without a rate
    where no station-day was without a drift."""
    count, days = len(outcome.false_flags), outcome.station_days / 1000.0
    figures = {
        "stations": float(outcome.plant.stations),
        "station_days": outcome.station_days,
        "false_flags": float(count),
        "false_share": outcome.false_share,
        "shared_flags": float(len(outcome.shared_flags)),
        "drifts": float(len(outcome.delays_h)),
        "found": float(sum(delay is not None for _, delay in outcome.delays_h)),
    }
    if days > 0.0:
        figures["flags_per_1000"] = outcome.flags_per_1000
        figures["flags_per_1000_low"] = float(gammaincinv(count, 0.025)) / days if count else 0.0
        figures["flags_per_1000_high"] = float(gammaincinv(count + 1, 0.975)) / days
    for upset in UPSETS:
        middle = outcome.median_delay_h(upset)
        if middle is not None and middle != float("inf"):
            figures[f"delay_{upset.replace(' ', '_').replace('+', '').replace('%', 'pct')}_h"] = middle
    return figures
