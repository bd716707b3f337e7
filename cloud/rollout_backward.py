"""A rollout that is taken back: dispatch stops first, then whoever was ordered the bad bundle is ordered back (DESIGN 7)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping

from cloud.order_maker import OrderMaker
from cloud.ports.registry import Release, Releases
from cloud.ports.rollouts import MemberStep, Rollout, RolloutBook, RolloutMember, StandingOrder
from cloud.ports.stations import StationStatus
from cloud.rollout.rollout_states import MemberEvent, MemberState, RolloutEvent
from cloud.rollout.way_back import MOST_RECALLS, WayBack, recall_name, recalls, way_back
from cloud.rollout_reports import overtaken, turned_down

_log = logging.getLogger(__name__)

_RECALLS_A_TICK = 200
_SKIPPED_AT_ONCE = 500
_TO_RECALL = (
    MemberState.SHADOWING,
    MemberState.SHADOWED,
    MemberState.ORDERED,
    MemberState.COMMITTED,
    MemberState.FAILED,
)


class RolloutBackward:
    """Takes rollouts back. One thread's."""

    def __init__(
        self, *, rollouts: RolloutBook, releases: Releases, orders: OrderMaker, now: Callable[[], float]
    ) -> None:
        self._rollouts, self._releases, self._orders, self._now = rollouts, releases, orders, now
        # Read once a tick: there may be ten thousand stations to look at, and a catalog is a folder of files.
        self._found: dict[str, Release | None] = {}
        self._standing: dict[str, StandingOrder] = {}

    def bring_back(self, rollout: Rollout, members: list[RolloutMember], status: Mapping[str, StationStatus]) -> None:
        """Stop dispatch first, then order the former bundle for every station that was ordered the bad one.

        A station that rolled back by itself is ordered back too, so that its standing order no longer names the bad bundle.
        """
        now, left = self._now(), _RECALLS_A_TICK
        self._look_up()
        planned = [m for m in members if m.state is MemberState.PLANNED and m.ordered_at is None]
        for start in range(0, len(planned), _SKIPPED_AT_ONCE):
            some = planned[start : start + _SKIPPED_AT_ONCE]
            self._rollouts.step_members([MemberStep(m, MemberEvent.SKIP, "the rollout was stopped") for m in some], now)
        for member in members:
            said = status.get(member.station)
            if (member.state in _TO_RECALL or (member.state is MemberState.PLANNED and member.ordered_at)) and left:
                self._recall(rollout, member, said)
                left -= 1
            elif member.state is MemberState.RECALLED:
                self._look_whether_back(rollout, member, said)
        members = self._rollouts.members(rollout.id)
        if all(_is_over(m, status.get(m.station)) for m in members):
            self._rollouts.step(rollout, RolloutEvent.ALL_BACK, "plumbline", rollout.reason, now)

    def hear_late(
        self,
        rollout: Rollout,
        members: list[RolloutMember],
        status: Mapping[str, StationStatus],
        retired: Collection[str],
    ) -> None:
        """Hear of a rollout that is over who was away when it ended, and wait no more for who will never be heard of it."""
        self._look_up()
        for member in members:
            said = status.get(member.station)
            if member.state not in (MemberState.RECALLED, MemberState.ORDERED):
                continue
            if member.station in retired:
                why = _both(member.reason, "its access was taken away: what it runs is not known")
                self._rollouts.step_member(member, MemberEvent.SKIP, why, self._now())
            elif member.state is MemberState.RECALLED:
                self._look_whether_back(rollout, member, said)
            elif why := overtaken(member, said, self._standing.get(member.station)):
                self._rollouts.step_member(member, MemberEvent.SKIP, _both(member.reason, why), self._now())

    def _look_up(self) -> None:
        self._found, self._standing = {}, {order.station: order for order in self._rollouts.all_standing()}

    def _look_whether_back(self, rollout: Rollout, member: RolloutMember, said: StationStatus | None) -> None:
        back_to, now = member.previous_bundle, self._now()
        if (standing := self._standing.get(member.station)) is None:
            self._rollouts.step_member(member, MemberEvent.RETURN, member.reason, now)  # nothing was ordered
            return
        if why := overtaken(member, said, standing):
            # Whatever it says of this way back by now, it is not to be ordered once more in the place of what is newer.
            is_back = said is not None and said.bundle == back_to and said.deployment == member.deployment
            event = MemberEvent.RETURN if is_back else MemberEvent.SKIP
            self._rollouts.step_member(member, event, _both(member.reason, "" if is_back else why), now)
            return
        if said is None:
            return
        if said.deployment == member.deployment and turned_down(said, back_to):
            if (tries := recalls(member.deployment)) < MOST_RECALLS:
                _log.warning("%s turned down its way back: %s", member.station, said.reason)
                order = self._orders.way_back(member.station, back_to, recall_name(member.deployment))
                self._rollouts.recall(member, order, back_to, member.reason, now)
                return
            why = f"it turned down the way back {tries} times and runs '{said.bundle[:12]}': {said.reason}"
            self._rollouts.step_member(member, MemberEvent.RETURN, _both(member.reason, why), now)
            return
        # What it went back to by itself it may refuse to be ordered: an order that it committed has raised its floor.
        by_itself = turned_down(said, rollout.bundle) and said.reported_at > (member.ordered_at or 0.0)
        if said.bundle == back_to and (said.deployment == member.deployment or by_itself):
            self._rollouts.step_member(member, MemberEvent.RETURN, member.reason or "back on the former bundle", now)
        elif said.bundle == rollout.bundle and self._way_back(rollout, member, said)[0] is WayBack.WITHDRAW:
            # It committed in the moment in which it was recalled, and what it committed allows of no way back.
            self._rollouts.step_member(
                member, MemberEvent.RETURN, _both(member.reason, self._way_back(rollout, member, said)[1]), now
            )

    def _way_back(self, rollout: Rollout, member: RolloutMember, said: StationStatus | None) -> tuple[WayBack, str]:
        former, new = self._release(member.previous_bundle), self._release(rollout.bundle)
        here = said is not None and (said.online or said.state_at > (member.ordered_at or 0.0))
        return way_back(
            state=member.state,
            version=rollout.version,
            bundle=rollout.bundle,
            counter=None if new is None else new.release_counter,
            former=member.previous_bundle,
            former_counter=None if former is None else former.release_counter,
            runs_it=said is not None and said.bundle == rollout.bundle,
            heard=here,
        )

    def _release(self, digest: str) -> Release | None:
        if digest not in self._found:
            self._found[digest] = self._releases.by_digest(digest)
        return self._found[digest]

    def _recall(self, rollout: Rollout, member: RolloutMember, said: StationStatus | None) -> None:
        """Order a station back. It must not keep the others from going back: where that cannot be, it is said why."""
        way, why = self._way_back(rollout, member, said)
        reason = _both(member.reason, why)
        if way is WayBack.WITHDRAW:
            # Left standing, the bad order would be obeyed by a station that was away, whenever it comes back.
            self._rollouts.withdraw(member, reason, self._now())
            return
        back_to = member.previous_bundle if way is WayBack.FORMER else ""
        order = self._orders.way_back(member.station, back_to, recall_name(member.deployment))
        self._rollouts.recall(member, order, back_to, reason, self._now())


def _is_over(member: RolloutMember, said: StationStatus | None) -> bool:
    if member.state in (MemberState.BACK, MemberState.SKIPPED):
        return True
    # A station that is away keeps its standing order and obeys it on its return; the fleet does not wait for it.
    return member.state is MemberState.RECALLED and (said is None or not said.online)


def _both(reason: str, why: str) -> str:
    return f"{reason}; {why}" if reason and why else reason or why
