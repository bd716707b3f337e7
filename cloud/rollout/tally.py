"""A rollout's stations counted: what each wave came to, and the whole of it, with exact bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cloud.gate.binomial import lower_bound, upper_bound
from cloud.rollout.evidence import RolloutEvidence, WaveEvidence
from cloud.rollout.judge import Fate, Member, fate_of, is_in_wave
from cloud.rollout.plan import RolloutPlan
from cloud.rollout.rollout_states import MemberState

_BAD = (Fate.FAILED, Fate.SILENT)


def tally(members: Sequence[Member], plan: RolloutPlan) -> RolloutEvidence:
    """Return the evidence that lies in the states of a rollout's stations; what is compared and noted is not in it."""
    fates = [(member, fate_of(member, plan.silence_s)) for member in members]
    names = plan.waves or tuple(f"wave {n}" for n in range(1 + max((m.wave for m in members), default=-1)))
    here: list[list[tuple[Member, Fate]]] = [[] for _ in names]
    for member, fate in fates:
        for wave in {0, member.wave} if member.shadow else {member.wave}:
            if wave < len(here):
                here[wave].append((member, fate))
    bad = sum(fate in _BAD for _, fate in fates)
    heard = bad + sum(fate is Fate.WELL for _, fate in fates)
    return RolloutEvidence(
        waves=tuple(_wave(name, number, here[number], plan) for number, name in enumerate(names)),
        heard=heard,
        failed=bad,
        lower=lower_bound(bad, heard, plan.confidence),
        upper=upper_bound(bad, heard, plan.confidence),
    )


def _wave(name: str, number: int, here: Sequence[tuple[Member, Fate]], plan: RolloutPlan) -> WaveEvidence:
    counts: Counter[str] = Counter()
    for member, fate in here:
        unseen_only = member.shadow and is_in_wave(member, 0) and number != member.wave
        counts[_column(member, fate, shadow_wave=unseen_only)] += 1
    bad = counts["failed"] + counts["silent"]
    heard = bad + counts["committed"]
    return WaveEvidence(
        name=name,
        planned=len(here),
        ordered=heard + counts["offline"] + counts["under way"],
        committed=counts["committed"],
        failed=counts["failed"],
        silent=counts["silent"],
        offline=counts["offline"],
        skipped=counts["skipped"],
        share=bad / heard if heard else 0.0,
        lower=lower_bound(bad, heard, plan.confidence),
        upper=upper_bound(bad, heard, plan.confidence),
    )


def _column(member: Member, fate: Fate, *, shadow_wave: bool) -> str:
    if shadow_wave and member.state in (MemberState.ORDERED, MemberState.COMMITTED):
        return "committed"  # it has shown itself unseen, and went on
    if not shadow_wave and member.state in (MemberState.SHADOWING, MemberState.SHADOWED):
        return "planned"
    names = {Fate.WELL: "committed", Fate.WAITING: "planned", Fate.OUT: "skipped", Fate.UNDER_WAY: "under way"}
    return names.get(fate, fate.value)
