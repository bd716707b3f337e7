"""What a rollout should do next, from what its stations report: pure, so that every case is a test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from cloud.rollout.rollout_states import MemberState


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
    been. `said_s`: how long ago it last reported on this order, or could not have been heard.
    """

    station: str
    wave: int
    state: MemberState
    ordered_s: float | None
    online: bool
    link_s: float = math.inf
    said_s: float = math.inf
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RolloutPolicy:
    """When to stop. `silence_s`: an ordered, reachable station that says nothing for this long has failed (DESIGN 7)."""

    max_failures: int = 0
    silence_s: float = 900.0


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """What to do and why, in words for a person."""

    kind: StepKind
    why: str


def next_step(members: Sequence[Member], wave: int, policy: RolloutPolicy) -> RolloutStep:
    """Return what a running rollout in `wave` should do next.

    ROLL_BACK as soon as more than `max_failures` stations failed, silence counted as failure; HOLD while a station of
    this wave is under way; ADVANCE when the whole wave committed; FINISH when there is no later wave. A station that was
    offline at dispatch is waited for and is no failure; one that took the order and then went away is.
    """
    failed = [m for m in members if m.state is MemberState.FAILED]
    silent = [m for m in members if _silence_s(m) > policy.silence_s]
    if len(failed) + len(silent) > policy.max_failures:
        reasons = [f"{m.station}: {m.reason or 'rolled back'}" for m in failed]
        reasons += [f"{m.station}: silent for {_silence_s(m):.0f} s" for m in silent]
        return RolloutStep(StepKind.ROLL_BACK, "; ".join(reasons))
    under_way = [m.station for m in members if m.wave == wave and m.state in (MemberState.PLANNED, MemberState.ORDERED)]
    if under_way:
        return RolloutStep(StepKind.HOLD, f"waiting for {', '.join(under_way)}")
    if any(m.wave > wave for m in members):
        return RolloutStep(StepKind.ADVANCE, f"wave {wave} is committed")
    return RolloutStep(StepKind.FINISH, "every wave is committed")


def _silence_s(member: Member) -> float:
    """Return for how long a station has kept silent about an order that it could have heard."""
    if member.state is not MemberState.ORDERED or member.ordered_s is None:
        return 0.0
    if not member.online and member.link_s >= member.ordered_s:
        return 0.0  # it has not been here since it was ordered
    return min(member.ordered_s, member.link_s, member.said_s)
