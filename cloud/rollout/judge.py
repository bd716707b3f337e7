"""What a rollout should do next, from what its stations report: pure, so that every case is a test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from cloud.gate.binomial import lower_bound
from cloud.rollout.rollout_states import MemberState

_NAMED = 5
"""A sentence names so many stations; of more it says how many."""


class StepKind(str, Enum):
    """The next step of a rollout."""

    ADVANCE = "ADVANCE"
    HOLD = "HOLD"
    ROLL_BACK = "ROLL_BACK"
    FINISH = "FINISH"


@dataclass(frozen=True, slots=True)
class Member:
    """A station within a rollout.

    `ordered_s` is how long ago it was ordered, None when it was not. `link_s`: for how long it has been `online`, or not
    been. `said_s`: how long ago it last reported on this order, or could not have been heard. `ended_s`: how long ago it came to
    an end with its order. `shadow`: it is of the shadow wave (wave 0), beside the wave in which it is ordered in earnest. `slow_s`:
    how much later its word may come than that of a station on the broker.
    """

    station: str
    wave: int
    state: MemberState
    ordered_s: float | None
    online: bool
    link_s: float = math.inf
    said_s: float = math.inf
    reason: str = ""
    ended_s: float = math.inf
    shadow: bool = False
    slow_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RolloutPolicy:
    """When to go on and when to stop (DESIGN 7).

    `silence_s`: an ordered, reachable station that says nothing for this long has failed. `offline_wait_s`: one that has been
    away since its order is not waited for any longer than this. `soak_s`: between the last station of a wave and the next wave.
    `max_failure`: the share of stations that may fail; 1: however many. `confidence`: of the bound on that share.
    """

    silence_s: float = 900.0
    offline_wait_s: float = 3600.0
    soak_s: float = 0.0
    max_failure: float = 0.02
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """What to do and why, in words for a person; `blocked`: nothing that stations do now will end this HOLD soon."""

    kind: StepKind
    why: str
    blocked: bool = False


class Fate(str, Enum):
    """How a station fares with its order, whatever its state is called."""

    WAITING = "waiting"  # not ordered yet
    UNDER_WAY = "under way"
    OFFLINE = "offline"  # cannot have heard its order
    WELL = "well"
    FAILED = "failed"
    SILENT = "silent"
    OUT = "out"  # of this rollout no more


_ENDED = {
    MemberState.PLANNED: Fate.WAITING,
    MemberState.SHADOWED: Fate.WELL,
    MemberState.COMMITTED: Fate.WELL,
    MemberState.FAILED: Fate.FAILED,
}


_HEARD = (Fate.WELL, Fate.FAILED, Fate.SILENT)
_TO_COME = (Fate.WAITING, Fate.UNDER_WAY, Fate.OFFLINE)


def fate_of(member: Member, silence_s: float) -> Fate:
    """Return how a station fares; one that was recalled or skipped is out."""
    if member.state not in (MemberState.ORDERED, MemberState.SHADOWING):
        return _ENDED.get(member.state, Fate.OUT)
    if _is_away(member):
        return Fate.OFFLINE
    return Fate.SILENT if _silence_s(member) > silence_s + member.slow_s else Fate.UNDER_WAY


def is_in_wave(member: Member, wave: int) -> bool:
    """Return whether `wave` is one of the station's."""
    return member.wave == wave or (member.shadow and wave == 0)


def next_step(members: Sequence[Member], wave: int, policy: RolloutPolicy, hold_after: int = -1) -> RolloutStep:
    """Return what a running rollout in `wave` should do next.

    ROLL_BACK as soon as too many stations failed, silence counted as failure: when the one-sided Clopper-Pearson bound on the share
    of failures among those heard passes `max_failure`, or when more than that share of all that the waves so far reach has
    failed, whatever the others of these waves may do yet. In waves of less than 1 / max_failure stations that is the first
    failure. A station that was offline at dispatch is waited for and is no failure; one that took the order and then went away is.

    HOLD while a station of this wave is under way, save those that have been away since their order for `offline_wait_s`; while
    nobody of the wave has been heard, for no wave goes on without its evidence; for `soak_s` after its last station;
    and after wave `hold_after`, until a person decides. ADVANCE when the wave has run; FINISH when there is no later one.

    People take stations out one by one, and the others go on without them; but where they took out everybody who was to show it
    first, or everybody, nothing was shown and nobody is left to show it: that is ROLL_BACK too.
    """
    fates = [(member, fate_of(member, policy.silence_s)) for member in members]
    if why := _too_many_failures(fates, wave, policy):
        return RolloutStep(StepKind.ROLL_BACK, why)
    here = [(member, fate) for member, fate in fates if is_in_wave(member, wave)]
    if here and all(fate is Fate.OUT for _, fate in here) and _none_before(fates, wave):
        taken = _named([m.station for m, _ in here])
        return RolloutStep(StepKind.ROLL_BACK, f"nobody is left to show what it does: {taken} taken out of it by hand")
    open_ = [m.station for m, fate in here if _holds_up(m, fate, wave, policy.offline_wait_s)]
    if open_:
        return RolloutStep(StepKind.HOLD, f"waiting for {_named(open_)}")
    later = any(m.wave > wave for m, fate in fates if fate is not Fate.OUT)
    told = [fate for _, fate in here if fate in _HEARD]
    if not told and any(fate is not Fate.OUT for _, fate in here) and (later or not _anyone_heard(fates)):
        away = [m.station for m, fate in here if fate is Fate.OFFLINE]
        why = f"wave {wave} has shown nothing yet: {_named(away)} cannot be reached"
        return RolloutStep(StepKind.HOLD, why, blocked=True)
    soaked = min((m.ended_s for m, fate in here if fate is not Fate.OUT), default=math.inf)
    if soaked < policy.soak_s:
        return RolloutStep(StepKind.HOLD, f"wave {wave} has run; the next one waits a while", blocked=True)
    if wave == hold_after:
        return RolloutStep(StepKind.HOLD, "both bundles are held side by side", blocked=True)
    if later:
        return RolloutStep(StepKind.ADVANCE, f"wave {wave} is committed")
    return RolloutStep(StepKind.FINISH, "every wave is committed")


def _too_many_failures(fates: Sequence[tuple[Member, Fate]], wave: int, policy: RolloutPolicy) -> str:
    bad = [(member, fate) for member, fate in fates if fate in (Fate.FAILED, Fate.SILENT)]
    if not bad:
        return ""
    heard = len(bad) + sum(fate is Fate.WELL for _, fate in fates)
    # Whoever is in the waves so far may still be heard: those away, and those under way.
    to_come = sum(fate in _TO_COME and (m.wave <= wave or is_in_wave(m, wave)) for m, fate in fates)
    certain = len(bad) > policy.max_failure * (heard + to_come)
    if not certain and lower_bound(len(bad), heard, policy.confidence) <= policy.max_failure:
        return ""
    reasons = [
        f"{m.station}: {m.reason or 'rolled back'}"
        if fate is Fate.FAILED
        else f"{m.station}: silent for {_silence_s(m):.0f} s"
        for m, fate in bad[:_NAMED]
    ]
    if len(bad) == 1:
        return reasons[0]
    more = [f"and {len(bad) - _NAMED} others"] if len(bad) > _NAMED else []
    return "; ".join([f"{len(bad)} of {heard} stations failed", *reasons, *more])


def _none_before(fates: Sequence[tuple[Member, Fate]], wave: int) -> bool:
    """Return whether `wave` is the first in which anybody is in its hands, or nobody is in this rollout any more."""
    return all(m.wave >= wave for m, _ in fates) or all(fate is Fate.OUT for _, fate in fates)


def _anyone_heard(fates: Sequence[tuple[Member, Fate]]) -> bool:
    return any(fate in _HEARD for _, fate in fates)


def _holds_up(member: Member, fate: Fate, wave: int, offline_wait_s: float) -> bool:
    """Return whether the wave waits for this station."""
    if fate is Fate.OFFLINE:
        return (member.ordered_s or 0.0) < offline_wait_s
    if fate is Fate.WELL:
        # What it showed unseen is not what its own wave asks of it.
        return member.state is MemberState.SHADOWED and member.wave == wave
    return fate in (Fate.WAITING, Fate.UNDER_WAY)


def _named(stations: Sequence[str]) -> str:
    more = len(stations) - _NAMED
    return ", ".join(stations[:_NAMED]) + (f" and {more} others" if more > 0 else "")


def _is_away(member: Member) -> bool:
    """Return whether a station has not been here since it was ordered."""
    return member.ordered_s is not None and not member.online and member.link_s >= member.ordered_s


def _silence_s(member: Member) -> float:
    """Return for how long a station has kept silent about an order that it could have heard."""
    if member.state not in (MemberState.ORDERED, MemberState.SHADOWING) or member.ordered_s is None:
        return 0.0
    if _is_away(member):
        return 0.0
    return min(member.ordered_s, member.link_s, member.said_s)
