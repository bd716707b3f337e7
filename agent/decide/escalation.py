"""Whether to ask the cloud about one frame, and what its answer changes (DESIGN 3)."""

from __future__ import annotations

from dataclasses import replace

from agent.decide.budget import Budget
from agent.decide.causes import Cause
from agent.decide.thresholds import Decision, decide, review
from contract.decode import Prediction
from contract.manifest import Thresholds
from contract.messages import Verdict


def may_ask(
    decision: Decision, budget: Budget, *, now_s: float, time_left_s: float, least_s: float
) -> tuple[bool, Budget]:
    """Return whether to ask about this frame now, and the budget afterwards.

    Only when the decision could be settled by it, at least `least_s` of the deadline is left, and there is budget; a frame
    without time costs none.
    """
    if not decision.escalate or time_left_s < least_s:
        return False, budget
    return budget.spend(now_s)


def without_guarantee(decision: Decision, *, ask: bool, why: Cause = Cause.DRIFTED) -> Decision:
    """Return the decision where the thresholds' guarantee is void: a PASS becomes REVIEW, and the cloud is asked if `ask`.

    A REJECT stands: the guarantee is about defects that pass.
    """
    if decision.verdict is not Verdict.PASS:
        return decision
    return Decision(Verdict.REVIEW, escalate=True, why=why) if ask else review(why)


def without_cloud(decision: Decision) -> Decision:
    """Return the decision on a frame that is refused as unfamiliar, where the refusal itself is suspended: never PASS.

    The cloud is not asked, as its model was made from the same images as ours and knows a stranger no better: a doubt stays
    REVIEW under its own cause, and a PASS is REVIEW. A REJECT stands: the refusal is about what passes.
    """
    if decision.verdict is Verdict.PASS:
        return review(Cause.UNFAMILIAR)
    return replace(decision, escalate=False) if decision.escalate else decision


def settle(local: Decision, cloud: Prediction | None, thresholds: Thresholds) -> Decision:
    """Return the decision after the cloud's answer: its own where it is sure, the local one where it is None or unsure too."""
    if cloud is None:
        return local
    answer = decide(cloud, thresholds)
    return local if answer.escalate else answer
