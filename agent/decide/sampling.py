"""Which frames are kept for a person to look at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from agent.decide.causes import Cause
from agent.decide.thresholds import Decision
from contract.messages import Verdict


class KeepReason(str, Enum):
    """AUDIT: drawn at random, whatever was decided; HARD: the model was unsure; REVIEW: REVIEW for another cause."""

    AUDIT = "audit"
    HARD = "hard"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Keep:
    """`inclusion` is the probability with which AUDIT drew it, 0 for the others: they are no random sample."""

    reason: KeepReason
    inclusion: float


class Sampler:
    """Draws the audit and takes doubtful frames, at most `doubtful_per_window` of them.

    The audit is drawn first and independently of everything else, and never capped: only so do its inclusion
    probabilities hold, and accuracy estimated from it stays unbiased. One thread's.
    """

    def __init__(self, rng: np.random.Generator, *, audit_rate: float, doubtful_per_window: int) -> None:
        self._rng = rng
        self._audit_rate = audit_rate
        self._doubtful_per_window = doubtful_per_window
        self._doubtful = 0

    def new_window(self) -> None:
        """Start counting doubtful frames anew."""
        self._doubtful = 0

    def draw(self, local: Decision) -> Keep | None:
        """Return why a frame with this local decision is kept, or None."""
        if self._audit_rate > 0 and self._rng.random() < self._audit_rate:
            return Keep(KeepReason.AUDIT, self._audit_rate)
        if local.verdict is not Verdict.REVIEW or self._doubtful >= self._doubtful_per_window:
            return None
        self._doubtful += 1
        return Keep(KeepReason.HARD if local.why is Cause.UNSURE else KeepReason.REVIEW, 0.0)
