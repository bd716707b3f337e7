"""Which kept frames a person should look at."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame a station kept. `audit`: it was drawn at random, whatever the model said of it."""

    sample: str
    part: str
    confidence: float
    audit: bool


def choose_for_review(
    candidates: Sequence[Candidate], known_parts: Collection[str], budget: int, audit_share: float
) -> list[str]:
    """Return at most `budget` sample ids, in the order in which a person should see them.

    A part is looked at once: a second frame of it would cost a person's time and teach nearly nothing. Audit frames come
    first, up to `audit_share` of the budget and in the order drawn: unpicked, so that accuracy can be estimated from them.
    Then the least confident ones; what is left of the budget goes to further audit frames.

    Args:
        candidates: in order of capture.
        known_parts: parts already asked for or labelled. "" stands for an unknown part and is never known.
        budget: how many more frames people will look at.
        audit_share: 0..1.
    """
    parts = {part for part in known_parts if part}
    chosen: list[str] = []

    def take(pool: Sequence[Candidate], upto: int) -> None:
        for candidate in pool:
            if len(chosen) >= upto:
                return
            if candidate.sample not in chosen and candidate.part not in parts:
                chosen.append(candidate.sample)
                if candidate.part:
                    parts.add(candidate.part)

    audit = [c for c in candidates if c.audit]
    hard = sorted((c for c in candidates if not c.audit), key=lambda c: c.confidence)
    take(audit, round(budget * audit_share))
    take(hard, budget)
    take(audit, budget)
    return chosen
