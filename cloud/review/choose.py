"""Which kept frames a person should look at: some drawn at random, the hardest, the strangest, and no two of a kind."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

_KIND_S = 60.0
# 0.07 * 100 is a little more than 7.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame a station kept.

    `audit`: it was drawn at random, whatever the model said of it. `novel`: it was kept for being unlike what its camera enrolled,
    by `novelty`. The others were kept because the model was unsure; the less `confidence`, the harder.
    """

    sample: str
    part: str
    confidence: float
    audit: bool
    novel: bool = False
    novelty: float = 0.0
    camera: str = ""
    label: str = ""
    captured_at: float = 0.0

    @property
    def kind(self) -> tuple[str, str, float]:
        """What makes two frames near-duplicates: the same camera, predicted label and minute."""
        return self.camera, self.label, self.captured_at // _KIND_S


def random_places(places: int, audit_share: float) -> int:
    """Return how many of so many places frames drawn at random are owed: the share, rounded up."""
    return math.ceil(places * audit_share - _ROUNDING)


def choose_for_review(
    candidates: Sequence[Candidate],
    known_parts: Collection[str],
    budget: int,
    audit_share: float,
    shown: Sequence[Candidate] = (),
) -> list[str]:
    """Return at most `budget` sample ids, in the order in which a person should see them.

    The rule, as one would tell it to the person:
    1. A part is looked at once: a second frame of it would cost your time and teach nearly nothing.
    2. First come frames drawn at random, up to `audit_share` of all you are shown, in the order given and unpicked: from them
       alone the model's accuracy is estimated.
    3. Then, by turns, the frame the model was least sure of and the one most unlike what its camera enrolled. Of a kind (one
       camera, one predicted label, one minute) you see a second frame only when every other kind at hand was shown as often.
    4. Whatever is left of your time goes to further frames drawn at random.

    Args:
        candidates: in an order that what is on them has no part in, such as that of their capture.
        known_parts: parts already asked for or labelled. "" stands for an unknown part and is never known.
        budget: how many more frames people will look at.
        audit_share: 0..1.
        shown: what they are looking at already, for the share and the kinds.
    """
    parts = {part for part in known_parts if part} | {c.part for c in shown if c.part}
    kinds = Counter(c.kind for c in shown if not c.audit)
    chosen: list[str] = []

    def take(candidate: Candidate) -> None:
        chosen.append(candidate.sample)
        if candidate.part:
            parts.add(candidate.part)

    audits = random_places(budget + len(shown), audit_share) - sum(c.audit for c in shown)
    audit = iter([c for c in candidates if c.audit])
    for _ in range(min(audits, budget)):
        if (drawn := _unseen(audit, parts)) is None:
            break
        take(drawn)
    hard = sorted((c for c in candidates if not c.audit and not c.novel), key=lambda c: c.confidence)
    novel = sorted((c for c in candidates if not c.audit and c.novel), key=lambda c: -c.novelty)
    pools = [hard, novel]
    while len(chosen) < budget and any(pools):
        pool = pools[0]
        pool[:] = [c for c in pool if c.part not in parts]
        if pool:
            # min keeps the first of equals: the pool is in order of hardness or strangeness.
            picked = min(pool, key=lambda c: kinds[c.kind])
            pool.remove(picked)
            kinds[picked.kind] += 1
            take(picked)
        pools.reverse()
    while len(chosen) < budget and (drawn := _unseen(audit, parts)) is not None:
        take(drawn)
    return chosen


def _unseen(drawn: Iterator[Candidate], parts: Collection[str]) -> Candidate | None:
    return next((c for c in drawn if c.part not in parts), None)
