"""Rollouts and standing orders, as the loops see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloud.rollout.rollout_states import MemberEvent, MemberState, RolloutEvent, RolloutState
from contract.messages import Order


@dataclass(frozen=True, slots=True)
class Rollout:
    """A release on its way. `changed_stations`: those whose decisions it is meant to change.

    `kind`: "release", "rollback" (an older version to everybody at once) or "ab" (two bundles side by side). `author` asked for it.
    `plan` and `evidence` are JSON (`cloud.rollout.plan`, `cloud.rollout.evidence`), `hold` says why it does not move now, "" where
    it does.
    """

    id: int
    version: str
    bundle: str
    state: RolloutState
    wave: int
    wave_started_at: float
    changed_stations: tuple[str, ...]
    reason: str
    created_at: float
    ended_at: float | None
    kind: str = "release"
    author: str = ""
    plan: str = "{}"
    hold: str = ""
    evidence: str = "{}"


@dataclass(frozen=True, slots=True)
class RolloutMember:
    """A station within a rollout.

    `deployment`: of the newest order that it got in this rollout. `previous_bundle`: where a recall leads, "" for nothing. `arm`:
    of an A/B rollout, "b" gets the new bundle and "a" stays with the control. `stratum`: what it was drawn among.
    """

    rollout: int
    station: str
    wave: int
    state: MemberState
    deployment: str
    previous_bundle: str
    ordered_at: float | None
    ended_at: float | None
    reason: str
    arm: str = ""
    stratum: str = ""


@dataclass(frozen=True, slots=True)
class StandingOrder:
    """The newest order for a station; `published` once the broker took it. An empty `envelope`: it was withdrawn.

    `facts` is the order in `envelope`, for signing it anew; None where it was withdrawn, or an older version stored it.
    """

    station: str
    desired_seq: int
    bundle: str
    envelope: str
    published: bool
    facts: Order | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """What a person said to a rollout that asks for it."""

    person: str
    approved: bool
    note: str
    at: float


@dataclass(frozen=True, slots=True)
class MemberStep:
    """A step of a station of a rollout, not yet taken."""

    member: RolloutMember
    event: MemberEvent
    reason: str


class ApprovalBook(Protocol):
    """What people said to rollouts."""

    def say(self, rollout: int, person: str, approved: bool, note: str, now: float) -> None:
        """Record what a person says; RefusedError where they said just that before."""

    def of(self, rollout: int) -> list[Approval]:
        """Return what stands: the newest word of each person, oldest first."""


class RolloutBook(Protocol):
    """Every rollout, its stations, and the newest order of each station. Each call is one transaction."""

    @property
    def approvals(self) -> ApprovalBook:
        """Return what people said to rollouts."""

    def create(
        self,
        version: str,
        bundle: str,
        waves: Sequence[Sequence[str]],
        changed: Sequence[str],
        actor: str,
        now: float,
        *,
        kind: str = "release",
        plan: str = "{}",
        evidence: str = "{}",
        reason: str = "",
        proposed: bool = False,
        strata: Mapping[str, str] | None = None,
        arm_b: Sequence[str] = (),
    ) -> int:
        """Store a new rollout and return its id; RefusedError while another is under way."""

    def live(self) -> list[Rollout]:
        """Return the rollouts that are not over, oldest first."""

    def done(self) -> list[Rollout]:
        """Return the rollouts that are DONE, oldest first."""

    def late(self) -> list[Rollout]:
        """Return the rollouts that are over while a station has still to be heard: ordered, or ordered back."""

    def note(self, rollout: Rollout, *, hold: str, evidence: str) -> None:
        """Store why a rollout does not move and what was judged, unless its state has changed since it was read."""

    def replan(self, rollout: Rollout, plan: str, actor: str, act: str, detail: str, now: float) -> None:
        """Store a decision of a person about a rollout under way."""

    def all(self) -> list[Rollout]:
        """Return every rollout, oldest first."""

    def get(self, rollout: int) -> Rollout:
        """Return one rollout; NotFound when there is none."""

    def ran(self, bundle: str) -> bool:
        """Return whether stations ran a bundle, by what earlier rollouts found or achieved."""

    def members(self, rollout: int) -> list[RolloutMember]:
        """Return a rollout's stations, by wave and name."""

    def next_seq(self, station: str) -> int:
        """Return the desired_seq that the next order of `station` must bear."""

    def order(
        self, member: RolloutMember, event: MemberEvent, order: StandingOrder, previous_bundle: str, now: float
    ) -> None:
        """Store an order with the member's step that it carries out; the member bears the order's deployment from then on."""

    def recall(self, member: RolloutMember, order: StandingOrder, back_to: str, reason: str, now: float) -> None:
        """Store an order that takes a member back to `back_to`, "" for nothing, with that step."""

    def former_bundle(self, station: str, bundle: str) -> str:
        """Return what a station ran before `bundle` by what earlier rollouts found, "" when that is not known."""

    def order_apart(self, order: StandingOrder, actor: str, act: str, reason: str, now: float) -> None:
        """Store an order that belongs to no rollout; one that goes forward goes on without the station."""

    def renew(self, old: StandingOrder, new: StandingOrder, now: float) -> None:
        """Let `new`, the same order signed anew, stand in the place of `old`."""

    def withdraw(self, member: RolloutMember, reason: str, now: float) -> None:
        """Recall a station that has nothing to go back to: no order stands for it any more."""

    def step_member(self, member: RolloutMember, event: MemberEvent, reason: str, now: float) -> None:
        """Move a station of a rollout on."""

    def step_members(self, steps: Sequence[MemberStep], now: float) -> None:
        """Move many stations on, in one transaction."""

    def advance(self, rollout: Rollout, now: float) -> None:
        """Start the next wave."""

    def step(
        self, rollout: Rollout, event: RolloutEvent, actor: str, reason: str, now: float, *, hold: str = ""
    ) -> None:
        """Move a rollout on; `hold` says why it does not go further by itself."""

    def standing(self, station: str) -> StandingOrder | None:
        """Return the newest order of a station, None when it never had one."""

    def all_standing(self) -> list[StandingOrder]:
        """Return the newest order of each station that has one, by station."""

    def unpublished(self) -> list[StandingOrder]:
        """Return the orders that the broker has not taken yet."""

    def mark_published(self, order: StandingOrder) -> None:
        """Record that the broker took this very order."""

    def republish_all(self) -> None:
        """Mark every order as not yet taken."""
