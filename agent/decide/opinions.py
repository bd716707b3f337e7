"""Second opinions that come after the verdict: which frames want one, what it is worth, and what may be spent on it.

The verdict was given to the line and stands; a later opinion is kept beside it (DESIGN 3).
"""

from __future__ import annotations

from enum import Enum

from agent.decide.budget import Budget
from agent.decide.causes import Cause
from contract.messages import OpinionsNote, Verdict


class Gone(str, Enum):
    """Why a frame gets no opinion after all."""

    EVICTED = "evicted"
    """Its image made room for others."""
    CROWDED_OUT = "crowded_out"
    """Too many waited, and it was the oldest."""
    POLICY = "policy"
    """This station's settings do not let it be asked about any more (P8)."""
    NO_BUNDLE = "no_bundle"
    """The bundle that judged it is not known here, or not to the cloud."""
    TOO_LARGE = "too_large"
    """One image over what may be sent at once."""
    REFUSED = "refused"
    """The cloud will not have it, or what it answers makes no sense."""
    GAVE_UP = "gave_up"
    """It failed too often."""


def wants_opinion(verdict: str, cause: str, kept_for: str, answered: bool) -> Cause | None:
    """Return why a kept frame should be asked about later: UNSURE, DRIFTED, or None for no reason.

    Args:
        kept_for: why its image was kept; "hard" is a frame the model was unsure of, whatever became of it then (late).
        answered: the cloud was asked at once and said what it had to say; where that came too late, it went unheard.
    """
    if verdict != Verdict.REVIEW.value or (answered and cause != Cause.LATE.value):
        return None
    if cause == Cause.UNSURE.value or kept_for == "hard":
        return Cause.UNSURE
    return Cause.DRIFTED if cause == Cause.DRIFTED.value else None


def allowance(most: float, period_s: float, now_s: float) -> Budget:
    """Return a full bucket that pays at most `most` (2 or more) in any `period_s`, a quarter of it at once."""
    capacity = max(1.0, most / 4)
    return Budget.full(capacity, (most - capacity) / period_s, now_s)


def add_up_opinions(first: OpinionsNote | None, second: OpinionsNote | None) -> OpinionsNote | None:
    """Return the sum, None where neither tells of any."""
    if first is None or second is None:
        return first or second
    return OpinionsNote(
        queued=first.queued + second.queued,
        answered=first.answered + second.answered,
        passed=first.passed + second.passed,
        rejected=first.rejected + second.rejected,
        unsure=first.unsure + second.unsure,
        agreed=first.agreed + second.agreed,
        gone={
            reason: first.gone.get(reason, 0) + second.gone.get(reason, 0)
            for reason in sorted(first.gone.keys() | second.gone.keys())
        },
    )
