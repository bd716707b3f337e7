"""One verdict of several models that look at the same frame."""

from __future__ import annotations

from agent.decide.thresholds import Decision, review
from contract.messages import Verdict

_WEIGHT = {Verdict.PASS: 0, Verdict.REVIEW: 1, Verdict.REJECT: 2}


def combine(first: Decision, other: Decision) -> Decision:
    """Return the stricter of two decisions, `first` itself where `other` adds nothing: REJECT before REVIEW before PASS.

    A part passes when every model passes it. The cloud is asked only about `first`'s doubts: it has no say on another model's.
    """
    if _WEIGHT[other.verdict] <= _WEIGHT[first.verdict]:
        # Both in doubt: an answer of the cloud to one must not settle the other.
        if first.verdict is Verdict.REVIEW and other.verdict is Verdict.REVIEW and first.escalate and first.why:
            return review(first.why)
        return first
    return review(other.why) if other.why is not None else other
