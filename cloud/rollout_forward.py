"""A rollout that goes forward: stations heard, judged, and the next ones ordered (DESIGN 7)."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from cloud.order_maker import OrderMaker
from cloud.ports.rollouts import MemberStep, Rollout, RolloutBook, RolloutMember
from cloud.ports.stations import StationStatus
from cloud.rollout.cohort import can_shadow
from cloud.rollout.evidence import RolloutEvidence, read_evidence
from cloud.rollout.judge import RolloutStep, StepKind, next_step
from cloud.rollout.plan import RolloutPlan, read_plan
from cloud.rollout.rollout_states import MemberEvent, MemberState, RolloutEvent, RolloutState, step_member
from cloud.rollout.tally import tally
from cloud.rollout.way_back import real_name, shadow_name
from cloud.rollout_gates import RolloutGates, approved_by
from cloud.rollout_reports import HeardSince, as_seen, came_to_another, heard, overtaken, speaks_of_another
from cloud.rollout_watch import RolloutWatch
from contract.errors import IllegalTransition

_log = logging.getLogger(__name__)

# An order is a transaction and a signature: nothing else must wait for the last of thousands. The next tick goes on with them.
_ORDERS_A_TICK = 200
_HEARD_AT_ONCE = 500


class RolloutForward:
    """Takes rollouts forward. One thread's."""

    def __init__(
        self,
        *,
        rollouts: RolloutBook,
        orders: OrderMaker,
        gates: RolloutGates,
        watch: RolloutWatch,
        now: Callable[[], float],
        standard: Callable[[], RolloutPlan] = RolloutPlan,
    ) -> None:
        """`standard` returns the plan of a rollout that was started before rollouts had one: what cloud.toml says now."""
        self._rollouts, self._orders, self._gates, self._watch = rollouts, orders, gates, watch
        self._now, self._standard = now, standard

    def go_on(self, rollout: Rollout, status: Mapping[str, StationStatus], since: HeardSince) -> bool:
        """Take a rollout that is PROPOSED, RUNNING or PAUSED one step further; return whether it is DONE now."""
        plan, now = self._standard() if rollout.plan == "{}" else read_plan(rollout.plan), self._now()
        if rollout.state is RolloutState.PROPOSED:
            self._propose(rollout, plan, now)
            return False
        if self._concluded(rollout, plan, now):
            return False
        members = self.hear(rollout, status)
        shadow = _unseen(rollout, plan, members, status)
        seen = [
            as_seen(
                m,
                said := status.get(m.station),
                now,
                since,
                shadow=m.station in shadow,
                overtaken=bool(self._overtaken(m, said)),
            )
            for m in members
        ]
        step = next_step(seen, rollout.wave, plan.policy(rollout.kind), plan.hold_after if not plan.keep else -1)
        before = read_evidence(rollout.evidence)
        fresh = self._watch.compared(rollout, plan, members, status, now)
        compared, ab = fresh if fresh is not None else (before.compared, None)
        counted = tally(seen, plan)
        if plan.shadow and rollout.wave > 0:
            # What a station does in earnest is no word on what it showed unseen: that wave stays as it was when it was over.
            counted = msgspec.structs.replace(
                counted, waves=(*before.waves[:1], *counted.waves[len(before.waves[:1]) :])
            )
        evidence = msgspec.structs.replace(
            counted, compared=compared, notes=before.notes, told=before.told, ab=ab or before.ab
        )
        if step.kind is not StepKind.ROLL_BACK and rollout.kind != "rollback":
            # What was compared in an earlier wave stopped nothing then, and is no news now.
            step = (_by_comparison(evidence) if fresh is not None else None) or step
        return self._take(rollout, plan, members, status, step, evidence, now)

    def hear(self, rollout: Rollout, status: Mapping[str, StationStatus]) -> list[RolloutMember]:
        """Take over what the stations report of this rollout's deployments, and return them as they are then."""
        members = self._rollouts.members(rollout.id)
        running = rollout.state in (RolloutState.RUNNING, RolloutState.PAUSED)
        steps: dict[str, MemberStep] = {}
        for member in members:
            said = status.get(member.station)
            if said is not None and (step := self._heard(member, said, rollout.bundle, running=running)) is not None:
                steps[member.station] = step
        now, due = self._now(), list(steps.values())
        for start in range(0, len(due), _HEARD_AT_ONCE):
            self._rollouts.step_members(due[start : start + _HEARD_AT_ONCE], now)
        return [_after(m, steps[m.station], now) if m.station in steps else m for m in members]

    def _heard(self, member: RolloutMember, said: StationStatus, bundle: str, *, running: bool) -> MemberStep | None:
        if (step := heard(member, said, bundle, running=running)) is not None:
            return step
        why = self._overtaken(member, said)
        return came_to_another(member, said, bundle, why, running=running) if why else None

    def _overtaken(self, member: RolloutMember, said: StationStatus | None) -> str:
        """Return why a station that is waited for is at another order or has ended it, "" where it is at this one."""
        if said is None or not speaks_of_another(member, said):
            return ""
        return overtaken(member, said, self._rollouts.standing(member.station))

    def _propose(self, rollout: Rollout, plan: RolloutPlan, now: float) -> None:
        if why := self._gates.why_waiting(rollout, plan):
            self._note(rollout, why, read_evidence(rollout.evidence))
            return
        by = approved_by(self._rollouts.approvals.of(rollout.id))
        self._rollouts.step(rollout, RolloutEvent.APPROVE, "plumbline", by, now)

    def _concluded(self, rollout: Rollout, plan: RolloutPlan, now: float) -> bool:
        """Take an A/B rollout back whose control was kept, by a person or because its time is over."""
        if rollout.kind != "ab" or plan.keep == "b" or (plan.keep == "" and now < plan.until):
            return False
        why = "its time is over and nobody concluded it: the control is kept"
        if plan.keep == "a":
            why = f"concluded: {plan.control} is kept"
        self._rollouts.step(rollout, RolloutEvent.ABORT, "plumbline", why, now)
        return True

    def _take(
        self,
        rollout: Rollout,
        plan: RolloutPlan,
        members: Sequence[RolloutMember],
        status: Mapping[str, StationStatus],
        step: RolloutStep,
        evidence: RolloutEvidence,
        now: float,
    ) -> bool:
        if step.kind is StepKind.ROLL_BACK:
            _log.warning("rollout %d of %s stops: %s", rollout.id, rollout.version, step.why)
            self._note(rollout, "", evidence)
            self._rollouts.step(rollout, RolloutEvent.ABORT, "plumbline", step.why, now)
            return False
        if rollout.state is RolloutState.PAUSED:
            self._note(rollout, rollout.hold, evidence)
            return False
        if step.kind is StepKind.FINISH:
            self._note(rollout, "", evidence)
            self._rollouts.step(rollout, RolloutEvent.ALL_WAVES_COMMITTED, "plumbline", step.why, now)
            return True
        closed = self._gates.why_closed(rollout, plan, now)
        self._note(rollout, closed or (step.why if step.blocked else ""), evidence)
        if closed:
            return False
        if step.kind is StepKind.ADVANCE:
            self._rollouts.advance(rollout, now)
            return False
        self._order_some(rollout, plan, members, status)
        return False

    def _order_some(
        self,
        rollout: Rollout,
        plan: RolloutPlan,
        members: Sequence[RolloutMember],
        status: Mapping[str, StationStatus],
    ) -> None:
        try:
            self._order_each(rollout, plan, members, status)
        except IllegalTransition as error:
            # A person paused or stopped it, or took the station out of it, since it was read: the next tick sees that.
            _log.info("rollout %d: %s", rollout.id, error.one_line())

    def _order_each(
        self,
        rollout: Rollout,
        plan: RolloutPlan,
        members: Sequence[RolloutMember],
        status: Mapping[str, StationStatus],
    ) -> None:
        unseen = _unseen(rollout, plan, members, status) if rollout.wave == 0 else set[str]()
        left = _ORDERS_A_TICK
        for member in members:
            if left == 0:
                return
            said = status.get(member.station)
            if member.station in unseen and member.state is MemberState.PLANNED:
                self._order(rollout, member, MemberEvent.SHADOW, said)
                left -= 1
            elif member.wave == rollout.wave and member.state in _TO_ORDER:
                self._order(rollout, member, MemberEvent.ORDER, said)
                left -= 1

    def _order(self, rollout: Rollout, member: RolloutMember, event: MemberEvent, said: StationStatus | None) -> None:
        unseen = event is MemberEvent.SHADOW
        name = shadow_name(member.deployment) if unseen else real_name(member.deployment)
        if rollout.kind == "rollback":
            order = self._orders.way_back(member.station, rollout.bundle, name)
        else:
            agrees = member.station not in rollout.changed_stations
            order = self._orders.candidate(member.station, rollout.bundle, name, agrees=agrees, shadow_only=unseen)
        former = said.bundle if said else ""
        if former == rollout.bundle:
            # It has it from an earlier rollout: the way back leads to what ran before that.
            former = self._rollouts.former_bundle(member.station, former) or former
        self._rollouts.order(member, event, order, former, self._now())

    def _note(self, rollout: Rollout, hold: str, evidence: RolloutEvidence) -> None:
        """Store what is said of a rollout where it is not what was said before."""
        encoded = evidence.encode()
        if (hold, encoded) != (rollout.hold, rollout.evidence):
            self._rollouts.note(rollout, hold=hold, evidence=encoded)


_TO_ORDER = (MemberState.PLANNED, MemberState.SHADOWING, MemberState.SHADOWED)


def _by_comparison(evidence: RolloutEvidence) -> RolloutStep | None:
    found = [each for each in evidence.compared if each.stops]
    if not found:
        return None
    return RolloutStep(StepKind.ROLL_BACK, "; ".join(each.words() for each in found))


def _unseen(
    rollout: Rollout, plan: RolloutPlan, members: Sequence[RolloutMember], status: Mapping[str, StationStatus]
) -> set[str]:
    """Return who decides unseen first: nobody whose agent was put back, by now, to one that would put the bundle in charge, and
    nobody who runs the bundle already, since a kit brought it: beside itself it has nothing to show.
    """
    wanted = set(plan.shadow)

    def able(member: RolloutMember) -> bool:
        said = status.get(member.station)
        if member.state in (MemberState.SHADOWING, MemberState.SHADOWED):
            return True
        if said is None or not can_shadow(said.agent_version):
            return False
        # One that was asked and is planned again had it already.
        has_it = said.bundle == rollout.bundle or member.ordered_at is not None
        return member.state is not MemberState.PLANNED or not has_it

    return {member.station for member in members if member.station in wanted and able(member)}


def _after(member: RolloutMember, step: MemberStep, now: float) -> RolloutMember:
    return dataclasses.replace(member, state=step_member(member.state, step.event), reason=step.reason, ended_at=now)
