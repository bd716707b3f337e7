"""What must hold before a rollout orders anybody: approvals, its day, its maintenance windows, what is left of the promises."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from cloud.maintenance import why_closed
from cloud.ports.rollouts import Approval, Rollout, RolloutBook
from cloud.rollout.plan import RolloutPlan
from cloud.rollout.rollout_states import RolloutState
from contract.errors import RefusedError


class RolloutGates:
    """Says why a rollout does not move. `why_held` says why releases wait just now, "" where they do not."""

    def __init__(self, *, rollouts: RolloutBook, why_held: Callable[[], str]) -> None:
        self._rollouts, self._why_held = rollouts, why_held

    def why_waiting(self, rollout: Rollout, plan: RolloutPlan) -> str:
        """Return why a proposed rollout still waits for approvals, "" where it has them."""
        said = self._rollouts.approvals.of(rollout.id)
        if against := [each for each in said if not each.approved]:
            return "; ".join(f"declined by {each.person}: {each.note}" for each in against)
        if (given := len(said)) < plan.approvals:
            by = f" ({', '.join(each.person for each in said)})" if said else ""
            return f"waits for approval: {given} of {plan.approvals}{by}"
        return ""

    def why_closed(self, rollout: Rollout, plan: RolloutPlan, now: float) -> str:
        """Return why a running rollout may order nobody at `now`, "" where it may."""
        if now < plan.not_before:
            begins = datetime.fromtimestamp(plan.not_before, timezone.utc)
            return f"begins {begins:%Y-%m-%d %H:%M} UTC, not before"
        if closed := why_closed(plan.windows, now):
            return closed
        # A rollback's plan never asks: it is what mends a budget.
        return self._why_held() if plan.hold_on_budget else ""

    def say(self, rollout: Rollout, person: str, approved: bool, note: str, now: float) -> None:
        """Record what a person says to a rollout.

        Raises:
            RefusedError: it waits for no approval, they asked for it themselves, or said just that before.
        """
        if rollout.state is not RolloutState.PROPOSED:
            hint = "only a rollout that was started where approvals are needed waits for them"
            raise RefusedError(f"rollout {rollout.id} is {rollout.state.value} and waits for no approval", hint=hint)
        if approved and person.strip().casefold() == rollout.author.strip().casefold():
            hint = "it takes somebody other than who started it"
            raise RefusedError(f"'{person}' asked for rollout {rollout.id} and cannot approve it", hint=hint)
        self._rollouts.approvals.say(rollout.id, person, approved, note, now)


def check_second_person(rollout: Rollout, plan: RolloutPlan, person: str) -> None:
    """Do nothing where `person` may turn a comparison into a rollout to everybody.

    Its approvals were of the comparison: where one is asked for, whoever keeps the new version must be another than who started it;
    where more are, nobody alone may.

    Raises:
        RefusedError: they may not.
    """
    if plan.approvals > 1:
        hint = f"keep a, then start a rollout of {rollout.version}: it asks for them"
        raise RefusedError(f"a rollout to everybody needs the approval of {plan.approvals} people", hint=hint)
    if plan.approvals and person.strip().casefold() == rollout.author.strip().casefold():
        hint = "it takes somebody other than who started the comparison"
        raise RefusedError(f"'{person}' asked for rollout {rollout.id} and cannot give it to everybody", hint=hint)


def approved_by(said: list[Approval]) -> str:
    """Return who approved, for the audit log."""
    return f"approved by {', '.join(each.person for each in said if each.approved)}"
