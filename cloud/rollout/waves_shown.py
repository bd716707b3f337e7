"""How the waves of a rollout stand, in numbers for a bar and in words for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloud.rollout.evidence import RolloutEvidence, WaveEvidence
from cloud.rollout.plan import RolloutPlan
from cloud.rollout.rollout_states import MemberState


@dataclass(frozen=True, slots=True)
class Counted:
    """`stations` of one wave that are in one state; `away` of them are neither online nor heard by HTTP."""

    wave: int
    state: MemberState
    stations: int
    away: int


@dataclass(frozen=True, slots=True)
class WaveShown:
    """One wave: of `stations` in all, how many are what. `silent` and `offline` were ordered, `under_way` are the others that were;
    `recalled` were ordered back and have not said so yet, `back` are back, `out` were never ordered or are waited for no more.
    """

    number: int
    name: str
    stations: int
    planned: int = 0
    under_way: int = 0
    offline: int = 0
    silent: int = 0
    committed: int = 0
    failed: int = 0
    recalled: int = 0
    back: int = 0
    out: int = 0

    def in_words(self) -> str:
        """Return it as a list: "3 of 5 committed, 1 offline"."""
        parts = [f"{self.committed:,} of {self.stations:,} committed"]
        shown = ("failed", "silent", "under_way", "offline", "planned", "recalled", "back", "out")
        called = {"under_way": "under way", "recalled": "ordered back", "out": "left out"}
        for name in shown:
            if number := getattr(self, name):
                parts.append(f"{number:,} {called.get(name, name)}")
        return ", ".join(parts)


_ORDERED = (MemberState.ORDERED, MemberState.SHADOWING)
_COMMITTED = (MemberState.COMMITTED, MemberState.SHADOWED)


def waves_shown(plan: RolloutPlan, evidence: RolloutEvidence, counted: Sequence[Counted]) -> tuple[WaveShown, ...]:
    """Return the waves in order.

    The counts are of now. Who is silent is what was last judged, and so is all of a shadow wave: its stations are counted in the
    waves in which they are ordered in earnest.
    """
    last = max((each.wave for each in counted), default=-1)
    found = []
    for number in range(max(last + 1, len(plan.waves))):
        name = plan.waves[number] if number < len(plan.waves) else f"wave {number}"
        judged = evidence.waves[number] if number < len(evidence.waves) else None
        if plan.shadow and number == 0:
            found.append(_shadow(name, len(plan.shadow), judged))
            continue
        found.append(_wave(number, name, [each for each in counted if each.wave == number], judged))
    return tuple(found)


def _wave(number: int, name: str, counted: Sequence[Counted], judged: WaveEvidence | None) -> WaveShown:
    def of(*states: MemberState) -> int:
        return sum(each.stations for each in counted if each.state in states)

    ordered = of(*_ORDERED)
    offline = sum(each.away for each in counted if each.state in _ORDERED)
    silent = min(judged.silent, ordered) if judged is not None else 0
    offline = min(offline, ordered - silent)
    return WaveShown(
        number=number,
        name=name,
        stations=of(*MemberState),
        planned=of(MemberState.PLANNED),
        under_way=ordered - silent - offline,
        offline=offline,
        silent=silent,
        committed=of(*_COMMITTED),
        failed=of(MemberState.FAILED),
        recalled=of(MemberState.RECALLED),
        back=of(MemberState.BACK),
        out=of(MemberState.SKIPPED),
    )


def _shadow(name: str, stations: int, judged: WaveEvidence | None) -> WaveShown:
    if judged is None:
        return WaveShown(0, name, stations, planned=stations)
    under_way = judged.ordered - judged.committed - judged.failed - judged.silent - judged.offline
    return WaveShown(
        number=0,
        name=name,
        stations=judged.planned,
        planned=max(0, judged.planned - judged.ordered - judged.skipped),
        under_way=max(0, under_way),
        offline=judged.offline,
        silent=judged.silent,
        committed=judged.committed,
        failed=judged.failed,
        out=judged.skipped,
    )
