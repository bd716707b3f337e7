"""Which frames are kept for a person to look at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from agent.decide.causes import Cause
from agent.decide.novelty_threshold import NoveltyThreshold
from agent.decide.thresholds import Decision
from contract.messages import Verdict


class KeepReason(str, Enum):
    """AUDIT: drawn at random, whatever was decided; HARD: the model was unsure; REVIEW: REVIEW for another cause; NOVEL: unlike
    anything enrolled, whatever was decided."""

    AUDIT = "audit"
    HARD = "hard"
    REVIEW = "review"
    NOVEL = "novel"


@dataclass(frozen=True, slots=True)
class Keep:
    """`inclusion` is the probability with which AUDIT drew it, 0 for the others: they are no random sample."""

    reason: KeepReason
    inclusion: float


class Uniform(Protocol):
    """Draws from [0, 1): Python's generators and numpy's. A station takes Python's: numpy's are 6 MB of memory."""

    def random(self) -> float: ...


class Sampler:
    """Draws the audit, and takes doubtful and novel frames, at most `doubtful_per_window` of both together.

    The audit is drawn first and independently of everything else, and never capped: only so do its inclusion
    probabilities hold, and accuracy estimated from it stays unbiased. A quarter of the other places is the novel frames' where
    there is novelty to tell (an enrolled camera): a drifting model is unsure of so much that none would be left. One thread's.
    """

    def __init__(self, rng: Uniform, *, audit_rate: float, doubtful_per_window: int) -> None:
        self._rng = rng
        self._audit_rate = audit_rate
        self._places = doubtful_per_window
        self._novel_places = doubtful_per_window // 4
        self._threshold = NoveltyThreshold()
        self._enrolled = False
        self._doubtful = 0
        self._novel = 0

    def new_window(self) -> None:
        """Start counting doubtful and novel frames anew. A camera that enrols again does so in a window of its own."""
        self._doubtful = self._novel = 0
        self._enrolled = False

    def draw(self, local: Decision, novelty: float = 0.0) -> Keep | None:
        """Return why a frame with this local decision is kept, or None. `novelty` is 0 where there is none to tell."""
        drawn = self._audit_rate > 0 and self._rng.random() < self._audit_rate
        is_novel = False
        if novelty > 0.0:
            is_novel = self._threshold.passed_by(novelty)
            self._enrolled = True
        if drawn:
            return Keep(KeepReason.AUDIT, self._audit_rate)
        kept = self._doubtful + self._novel
        free = kept < self._places
        reserved = self._novel_places if self._enrolled else 0
        if free and local.verdict is Verdict.REVIEW and self._doubtful < self._places - reserved:
            self._doubtful += 1
            return Keep(KeepReason.HARD if local.why is Cause.UNSURE else KeepReason.REVIEW, 0.0)
        if free and is_novel and self._novel < self._novel_places:
            self._novel += 1
            return Keep(KeepReason.NOVEL, 0.0)
        return None
