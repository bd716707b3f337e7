"""Whole rollouts over a fleet that exists nowhere: the real waves and the real judge, stations by seeded chance. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from cloud.rollout.cohort import in_turn, name_waves
from cloud.rollout.judge import Fate, Member, StepKind, fate_of, next_step
from cloud.rollout.plan import RolloutPlan
from cloud.rollout.rollout_states import MemberState

_MOST_STEPS = 100_000


@dataclass(frozen=True, slots=True)
class SimulatedFleet:
    """A fleet. `failure_rate`: chance that a station fails; of those that fail, `silent_share` say nothing at all. `offline_share`
    are away when they are ordered and come back after one to three days. An update takes `update_s`, at random between half of it
    and twice.
    """

    stations: int = 2000
    failure_rate: float = 0.005
    silent_share: float = 0.3
    offline_share: float = 0.02
    update_s: float = 120.0
    strata: int = 12


@dataclass(frozen=True, slots=True)
class SimulatedRollout:
    """How one rollout ended. `reached`: stations that had been ordered by then, `failed` those known to have failed; `wave` by
    name, `hours` from its start, `why` as the judge said.
    """

    seed: int
    completed: bool
    reached: int
    failed: int
    wave: str
    hours: float
    why: str


@dataclass(frozen=True, slots=True)
class SimulatedRates:
    """Many rollouts, summed up: the shares that were stopped and completed, and how many stations those that were stopped had
    reached: the median and the greatest.
    """

    seeds: int
    aborted: float
    completed: float
    reached_median: float
    reached_most: int
    waves: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Station:
    wave: int
    name: str
    answers_s: float
    fails: bool
    mute: bool
    away: bool
    ordered_at: float = math.inf


def simulate(fleet: SimulatedFleet, plan: RolloutPlan, seeds: range) -> Iterator[SimulatedRollout]:
    """Yield how a rollout ends by each seed; the same seed ends the same way."""
    for seed in seeds:
        yield simulate_one(fleet, plan, seed)


def simulate_one(fleet: SimulatedFleet, plan: RolloutPlan, seed: int) -> SimulatedRollout:
    """Return how a rollout of `plan` over `fleet` ends.

    Time moves from one thing that may matter to the next: a failure, a silence that lasted too long, a wait that is over, the last
    answer of a wave. Then the judge is asked, as the loop asks it. Between these stations only ever turn out well, which no judge
    stops a rollout for: to ask it after each of them would change nothing. A rollout is over when the judge says so.

    Raises:
        RuntimeError: it came to no end.
    """
    chance = np.random.default_rng(seed)
    waves, stations = _fleet(fleet, plan, chance)
    policy, now, wave = plan.policy("release"), 0.0, 0
    members = [Member(s.name, s.wave, MemberState.PLANNED, None, online=not s.away) for s in stations]
    active = _order(stations, members, wave, now)
    for _ in range(_MOST_STEPS):
        for n in active:
            members[n] = _seen(members[n], stations[n], now)
        step = next_step(members, wave, policy)
        if step.kind in (StepKind.ROLL_BACK, StepKind.FINISH):
            bad = sum(fate_of(m, policy.silence_s) in (Fate.FAILED, Fate.SILENT) for m in members)
            reached = sum(s.ordered_at <= now for s in stations)
            done = step.kind is StepKind.FINISH
            return SimulatedRollout(seed, done, reached, bad, waves[wave], now / 3600.0, step.why)
        if step.kind is StepKind.ADVANCE:
            wave += 1
            active += _order(stations, members, wave, now)
            continue
        now = _next_moment([(members[n], stations[n]) for n in active], plan, now)
        active = [n for n in active if members[n].state is MemberState.ORDERED or members[n].ended_s <= plan.soak_s]
    raise RuntimeError(f"the rollout of seed {seed} came to no end")


def rates(ended: list[SimulatedRollout]) -> SimulatedRates:
    """Return what many rollouts came to."""
    stopped = sorted(each.reached for each in ended if not each.completed)
    waves: dict[str, int] = {}
    for each in ended:
        if not each.completed:
            waves[each.wave] = waves.get(each.wave, 0) + 1
    middle = len(stopped) // 2
    median = (stopped[middle] + stopped[-middle - 1]) / 2 if stopped else 0.0
    return SimulatedRates(
        seeds=len(ended),
        aborted=len(stopped) / max(1, len(ended)),
        completed=1.0 - len(stopped) / max(1, len(ended)),
        reached_median=median,
        reached_most=stopped[-1] if stopped else 0,
        waves=waves,
    )


def _fleet(
    fleet: SimulatedFleet, plan: RolloutPlan, chance: np.random.Generator
) -> tuple[tuple[str, ...], list[_Station]]:
    names = [f"s{n:05}" for n in range(fleet.stations)]
    # Plain numbers: numpy's own, one at a time, would make all that follows slow.
    draws = [chance.random(fleet.stations).tolist() for _ in range(5)]
    strata = {
        name: f"stratum {n}" for name, n in zip(names, chance.integers(fleet.strata, size=len(names)), strict=True)
    }
    cut = name_waves(in_turn(names, strata), plan.wave_shares, plan.canary)
    wave_of = {name: wave for wave, here in enumerate(cut.stations) for name in here}
    stations = []
    for name, fails, mute, away, pace, days in zip(names, *draws, strict=True):
        is_away = away < fleet.offline_share
        stations.append(
            _Station(
                wave=wave_of[name],
                name=name,
                answers_s=86_400.0 * (1.0 + 2.0 * days) if is_away else fleet.update_s * 2.0 ** (2.0 * pace - 1.0),
                fails=fails < fleet.failure_rate,
                mute=fails < fleet.failure_rate and not is_away and mute < fleet.silent_share,
                away=is_away,
            )
        )
    return cut.names, stations


def _order(stations: list[_Station], members: list[Member], wave: int, now: float) -> list[int]:
    """Order the stations of a wave, and return which they are."""
    here = [n for n, station in enumerate(stations) if station.wave == wave]
    for n in here:
        stations[n].ordered_at = now
        members[n] = replace(members[n], state=MemberState.ORDERED)
    return here


def _seen(member: Member, station: _Station, now: float) -> Member:
    """Return a station that was ordered as the judge sees it at `now`."""
    ordered_s = now - station.ordered_at
    state, ended_s = MemberState.ORDERED, math.inf
    if not station.mute and station.ordered_at + station.answers_s <= now:
        state = MemberState.FAILED if station.fails else MemberState.COMMITTED
        ended_s = max(0.0, ordered_s - station.answers_s)
    return Member(station.name, station.wave, state, ordered_s, online=member.online, ended_s=ended_s)


def _next_moment(active: list[tuple[Member, _Station]], plan: RolloutPlan, now: float) -> float:
    moments: list[float] = []
    well = soaked = now
    for member, station in active:
        answered = station.ordered_at + station.answers_s
        if member.state is MemberState.COMMITTED:
            soaked = max(soaked, answered + plan.soak_s + 1.0) if plan.soak_s > 0.0 else soaked
        elif member.state is MemberState.ORDERED and station.away:
            moments += [station.ordered_at + plan.offline_wait_s + 1.0, answered]
        elif member.state is MemberState.ORDERED and station.mute:
            moments.append(station.ordered_at + plan.silence_s + 1.0)
        elif member.state is MemberState.ORDERED and station.fails:
            moments.append(answered)
        elif member.state is MemberState.ORDERED:
            well = max(well, answered)
    return min(moment for moment in (*moments, well, soaked) if moment > now)
