"""What the pages say of rollouts, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from cloud.dashboard.theme import Tone
from cloud.ports.rollouts import Approval, ApprovalBook, Rollout
from cloud.rollout.evidence import Compared, RolloutEvidence, read_evidence
from cloud.rollout.plan import RolloutPlan, read_plan
from cloud.rollout.rollout_states import MemberState, RolloutState
from cloud.rollout.waves_shown import Counted, WaveShown, waves_shown
from cloud.store.rollout_reading import RolloutReading, SeenMember

PAGE = 20


class Act(str, Enum):
    """What a person can do to a rollout that is under way; the value is on its button."""

    APPROVE = "Approve"
    REJECT = "Say no"
    PAUSE = "Pause"
    RESUME = "Resume"
    CONCLUDE = "Conclude"
    ABORT = "Abort"


@dataclass(frozen=True, slots=True)
class Gauge:
    """A figure with its bounds against the limit, all on a scale of 0 to `top`; without `known` there is nothing to draw."""

    what: str
    words: str
    tone: Tone
    known: bool = False
    lower: float = 0.0
    value: float = 0.0
    upper: float = 0.0
    limit: float = 0.0
    top: float = 1.0


@dataclass(frozen=True, slots=True)
class RolloutView:
    """A rollout: `sentence` says what it waits for or how it ended, `people` who started and approved it."""

    id: int
    title: str
    state: RolloutState
    tone: Tone
    sentence: str
    people: str
    began_at: float
    ended_at: float | None
    stations: int
    waves: tuple[WaveShown, ...]
    gauges: tuple[Gauge, ...]
    notes: tuple[str, ...]
    rules: str
    acts: tuple[Act, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class PastRollout:
    """A line of the list of those that are over."""

    id: int
    version: str
    kind: str
    state: RolloutState
    tone: Tone
    began_at: float
    author: str
    outcome: str
    why: str


@dataclass(frozen=True, slots=True)
class RolloutsView:
    """The rollout under way, None where there is none, and a page of all of them, newest first; `more`: there are older ones."""

    current: RolloutView | None
    past: tuple[PastRollout, ...]
    more: bool


KINDS = {"release": "release", "rollback": "rollback", "ab": "A/B"}
STATE_WORDS: dict[MemberState, tuple[str, Tone]] = {
    MemberState.PLANNED: ("planned", Tone.PLAIN),
    MemberState.SHADOWING: ("deciding unseen", Tone.INFO),
    MemberState.SHADOWED: ("shown unseen", Tone.GOOD),
    MemberState.ORDERED: ("ordered", Tone.INFO),
    MemberState.COMMITTED: ("committed", Tone.GOOD),
    MemberState.FAILED: ("failed", Tone.BAD),
    MemberState.RECALLED: ("ordered back", Tone.WARN),
    MemberState.BACK: ("back", Tone.WARN),
    MemberState.SKIPPED: ("left out", Tone.PLAIN),
}
_TONES = {
    RolloutState.PROPOSED: Tone.WARN,
    RolloutState.RUNNING: Tone.INFO,
    RolloutState.PAUSED: Tone.WARN,
    RolloutState.ABORTING: Tone.BAD,
    RolloutState.DONE: Tone.GOOD,
    RolloutState.ABORTED: Tone.BAD,
}
_ACTS: dict[RolloutState, tuple[Act, ...]] = {
    RolloutState.PROPOSED: (Act.APPROVE, Act.REJECT, Act.ABORT),
    RolloutState.RUNNING: (Act.PAUSE, Act.ABORT),
    RolloutState.PAUSED: (Act.RESUME, Act.ABORT),
}


def rollouts_view(reading: RolloutReading, approvals: ApprovalBook, before: int | None = None) -> RolloutsView:
    """Return what the page of all rollouts shows; the list holds ids below `before`."""
    current = reading.under_way()
    found = reading.newest(PAGE + 1, before)
    more, found = len(found) > PAGE, found[:PAGE]
    counted = reading.counts([each.id for each in found])
    past = []
    for each in found:
        waves = waves_shown(read_plan(each.plan), read_evidence(each.evidence), counted[each.id])
        past.append(
            PastRollout(
                id=each.id,
                version=each.version,
                kind=KINDS.get(each.kind, each.kind),
                state=each.state,
                tone=_TONES[each.state],
                began_at=each.created_at,
                author=each.author,
                outcome=_outcome(waves),
                why=each.reason,
            )
        )
    return RolloutsView(None if current is None else rollout_view(reading, approvals, current), tuple(past), more)


def rollout_view(reading: RolloutReading, approvals: ApprovalBook, rollout: Rollout) -> RolloutView:
    """Return one rollout."""
    plan, evidence = read_plan(rollout.plan), read_evidence(rollout.evidence)
    counted = reading.counts([rollout.id])[rollout.id]
    acts = _ACTS.get(rollout.state, ())
    if rollout.kind == "ab" and rollout.state is RolloutState.RUNNING and not plan.keep:
        acts = (Act.CONCLUDE, *acts)
    return RolloutView(
        id=rollout.id,
        title=f"{rollout.version} · rollout {rollout.id} · {KINDS.get(rollout.kind, rollout.kind)}",
        state=rollout.state,
        tone=_TONES[rollout.state],
        sentence=_sentence(rollout, counted),
        people=_people(rollout, approvals.of(rollout.id)),
        began_at=rollout.created_at,
        ended_at=rollout.ended_at,
        stations=sum(each.stations for each in counted),
        waves=waves_shown(plan, evidence, counted),
        gauges=_gauges(plan, evidence),
        notes=evidence.notes,
        rules=_rules(plan),
        acts=acts,
        kind=rollout.kind,
    )


def _sentence(rollout: Rollout, counted: Sequence[Counted]) -> str:
    if rollout.state is RolloutState.ABORTING:
        return f"Stopped, and its stations are ordered back: {rollout.reason}"
    if rollout.state in (RolloutState.DONE, RolloutState.ABORTED):
        waits = sum(each.stations for each in counted if each.state is MemberState.RECALLED)
        return f"{rollout.reason} ({_not_back(waits)})" if waits else rollout.reason
    if rollout.state is RolloutState.PAUSED:
        return rollout.hold or "Paused: no station is ordered until somebody resumes it."
    return rollout.hold or "Stations are being ordered."


def _not_back(stations: int) -> str:
    if stations == 1:
        return "1 station was away and is not back yet: it goes back when it returns"
    return f"{stations:,} stations were away and are not back yet: each goes back when it returns"


def _people(rollout: Rollout, said: Sequence[Approval]) -> str:
    words = [f"started by {rollout.author}" if rollout.author else "started by an older version"]
    for approved, verb in ((True, "approved by"), (False, "said no to by")):
        if who := [
            f"{each.person}{f' ({each.note})' if each.note else ''}" for each in said if each.approved is approved
        ]:
            words.append(f"{verb} {', '.join(who)}")
    return "; ".join(words)


def why_in_words(seen: SeenMember) -> str:
    """Return what there is to say of a station beside its state: why it is so, and of one that is away what is waited for."""
    waits = seen.member.state in (MemberState.ORDERED, MemberState.SHADOWING)
    why = [seen.member.reason or (seen.said if waits else "")]
    if seen.by_http and (waits or seen.member.state is MemberState.RECALLED):
        why.append("by HTTP: it gets its order with its next question, one every five minutes")
    elif seen.member.state is MemberState.RECALLED and not seen.online:
        why.append("it is away, and goes back when it returns")
    return "; ".join(each for each in why if each)


def _outcome(waves: Sequence[WaveShown]) -> str:
    own = [wave for wave in waves if wave.name != "shadow"]
    total = WaveShown(
        number=0,
        name="all",
        stations=sum(w.stations for w in own),
        planned=sum(w.planned for w in own),
        under_way=sum(w.under_way for w in own),
        offline=sum(w.offline for w in own),
        silent=sum(w.silent for w in own),
        committed=sum(w.committed for w in own),
        failed=sum(w.failed for w in own),
        recalled=sum(w.recalled for w in own),
        back=sum(w.back for w in own),
        out=sum(w.out for w in own),
    )
    return total.in_words()


def _gauges(plan: RolloutPlan, evidence: RolloutEvidence) -> tuple[Gauge, ...]:
    return (_failures(plan, evidence), *(_compared(each) for each in evidence.compared))


def _failures(plan: RolloutPlan, evidence: RolloutEvidence) -> Gauge:
    if not evidence.heard:
        words = f"Failures: nobody was heard yet. It stops where more than {_percent(plan.max_failure)} fail."
        return Gauge("failures", words, Tone.PLAIN)
    share = evidence.failed / evidence.heard
    words = (
        f"Failures: {evidence.failed:,} of {evidence.heard:,} ({_percent(share)}); with {_percent(plan.confidence)} confidence"
        f" at least {_percent(evidence.lower)}, and at most {_percent(evidence.upper)}. It stops where more than"
        f" {_percent(plan.max_failure)} fail."
    )
    tone = Tone.BAD if evidence.lower > plan.max_failure else Tone.WARN if evidence.failed else Tone.GOOD
    top = max(4 * plan.max_failure, min(1.0, evidence.lower * 1.5), 0.01)
    return Gauge(
        "failures", words, tone, True, evidence.lower, share, min(evidence.upper, top), plan.max_failure, min(top, 1.0)
    )


def _compared(found: Compared) -> Gauge:
    name = {"latency": "Time a frame", "memory": "Memory"}.get(found.what, f"Share of {found.what}")
    if found.unknown:
        return Gauge(found.what, f"{name}: not known. {found.unknown[:1].upper()}{found.unknown[1:]}.", Tone.PLAIN)
    against = f"{found.stations:,} stations against {found.control:,}"
    if found.what == "latency":
        words = (
            f"{name}: {found.value:.2f} times the control group's ({found.lower:.2f} to {found.upper:.2f}; {against})."
            f" It stops beyond {found.limit:.2f} times."
        )
    elif found.what == "memory":
        words = (
            f"{name}: {found.value:+.0f} MiB ({found.lower:+.0f} to {found.upper:+.0f}; {against})."
            f" It stops beyond {found.limit:.0f} MiB."
        )
    else:
        words = (
            f"{name}: {_points(found.value)} against the control group ({_points(found.lower)} to {_points(found.upper)};"
            f" {against}). It stops beyond {abs(found.limit) * 100:.0f} points either way."
        )
    # A shift either way counts: what is drawn is how far it is.
    reach = sorted(abs(each) for each in (found.lower, found.upper))
    lower = 0.0 if found.lower < 0.0 < found.upper else reach[0]
    top = max(2 * found.limit, reach[1], 1e-9)
    tone = Tone.BAD if found.stops else Tone.GOOD
    return Gauge(found.what, words, tone, True, lower, abs(found.value), reach[1], found.limit, top)


def _rules(plan: RolloutPlan) -> str:
    words = []
    if plan.waves:
        words.append(f"Waves: {', '.join(plan.waves)}")
    if plan.strata:
        words.append(f"spread over {', '.join(plan.strata)}")
    if plan.approvals:
        words.append(f"approved by {plan.approvals} besides who started it")
    if plan.windows:
        words.append(f"ordered only in {'; '.join(plan.windows)}")
    if plan.soak_s:
        words.append(f"{plan.soak_s:,.0f} s between waves")
    return ". ".join(each[0].upper() + each[1:] for each in words) + "." if words else ""


def _percent(share: float) -> str:
    text = f"{share * 100:.2f}".rstrip("0").rstrip(".")
    return f"{text} %"


def _points(share: float) -> str:
    return f"{share * 100:+.1f} points"
