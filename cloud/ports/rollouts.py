"""Rollouts and standing orders, as the loops see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cloud.rollout.rollout_states import MemberEvent, MemberState, RolloutEvent, RolloutState
from contract.messages import Order


@dataclass(frozen=True, slots=True)
class Rollout:
    """A release on its way. `changed_stations`: those whose decisions it is meant to change."""

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

    `deployment`: of the newest order that it got in this rollout. `previous_bundle`: where a recall leads, "" for nothing.
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


class RolloutBook(Protocol):
    """Every rollout, its stations, and the newest order of each station. Each call is one transaction."""

    def create(
        self, version: str, bundle: str, waves: Sequence[Sequence[str]], changed: Sequence[str], actor: str, now: float
    ) -> int:
        """Store a new rollout and return its id; RefusedError while another is under way."""

    def all(self) -> list[Rollout]:
        """Return every rollout, oldest first."""

    def get(self, rollout: int) -> Rollout:
        """Return one rollout; NotFound when there is none."""

    def members(self, rollout: int) -> list[RolloutMember]:
        """Return a rollout's stations, by wave and name."""

    def next_seq(self, station: str) -> int:
        """Return the desired_seq that the next order of `station` must bear."""

    def order(
        self, member: RolloutMember, event: MemberEvent, order: StandingOrder, previous_bundle: str, now: float
    ) -> None:
        """Store an order with the member's step that it carries out."""

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

    def advance(self, rollout: Rollout, now: float) -> None:
        """Start the next wave."""

    def step(self, rollout: Rollout, event: RolloutEvent, actor: str, reason: str, now: float) -> None:
        """Move a rollout on."""

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
