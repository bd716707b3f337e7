"""What stations report of their orders, put into the words of a rollout."""

from __future__ import annotations

from dataclasses import dataclass

from cloud.ports.rollouts import MemberStep, RolloutMember, StandingOrder
from cloud.ports.stations import StationStatus
from cloud.rollout.cohort import can_shadow
from cloud.rollout.judge import Member
from cloud.rollout.rollout_states import MemberEvent, MemberState
from contract.messages import SHADOWED
from contract.update_states import UpdateState

HAS_IT_ALREADY = (
    "it runs this bundle already, by a kit or another order: nothing to show unseen, its real order comes in its wave"
)


def turned_down(said: StationStatus, bundle: str) -> bool:
    """Return whether a station says that it rolled `bundle` back; an older one does not say which bundle it was."""
    return said.update_state == UpdateState.ROLLED_BACK.value and said.candidate in ("", bundle)


_BY_HTTP_S = 600.0
"""A station that asks over HTTP gets its order with its next question, and its word comes with its next report: each of them within
five minutes (`agent.orders_loop`)."""
_WAITED_FOR = (MemberState.ORDERED, MemberState.SHADOWING)


def speaks_of_another(member: RolloutMember, said: StationStatus) -> bool:
    """Return whether a station that is waited for has spoken, since it was ordered, of another order than this rollout's."""
    since = said.reported_at > (member.ordered_at or 0.0)
    return member.state in _WAITED_FOR and bool(said.deployment) and said.deployment != member.deployment and since


def came_to_another(
    member: RolloutMember, said: StationStatus, bundle: str, why: str, *, running: bool
) -> MemberStep | None:
    """Return what comes of a station that `speaks_of_another`, a newer one of a kit (`why`, as `overtaken` has it), None while it
    is at it, and where nobody is waited for (not `running`).

    It refuses the older order and never says a word of it. What it came to with the bundle it has said all the same. With another
    bundle that it keeps it shows nothing of this one, and is no failure of it: it is out. One that kept neither may still obey the
    order that it has, so it is a failure, which an abort fetches.
    """
    if said.update_state == UpdateState.COMMITTED.value and said.bundle == bundle:
        return MemberStep(member, MemberEvent.COMMIT, why) if member.state is MemberState.ORDERED else None
    if not running:
        return None
    if said.update_state == UpdateState.COMMITTED.value:
        return MemberStep(member, MemberEvent.SKIP, f"{why}, and runs another bundle: {said.bundle[:12] or 'none'}")
    if said.update_state == UpdateState.ROLLED_BACK.value:
        which = "this bundle" if said.candidate == bundle else f"that one's bundle {said.candidate[:12]}"
        return MemberStep(member, MemberEvent.FAIL, f"{why}, and rolled {which} back: {said.reason}")
    return None


def overtaken(member: RolloutMember, said: StationStatus | None, standing: StandingOrder | None) -> str:
    """Return why a station will never obey the order that it has of a rollout, "" where it may: a newer one came."""
    if standing is not None and standing.facts is not None and standing.facts.deployment != member.deployment:
        return f"a newer order took the place of this one: {standing.facts.deployment}"
    if standing is not None and said is not None and said.desired_seq > standing.desired_seq:
        return f"it follows a newer order, of a kit: {said.deployment}"
    return ""


def heard(member: RolloutMember, said: StationStatus, bundle: str, *, running: bool) -> MemberStep | None:
    """Return the step that a station's report comes to, None for none.

    Whoever left the bundle after its commit is a failure while others are still to get it (`running`); an abort fetches it anyway.
    One that was to decide unseen what it runs already has shown nothing and failed in nothing: it waits for its real order.
    """
    if member.state is MemberState.SHADOWING and _runs_it_anyway(member, said, bundle):
        return MemberStep(member, MemberEvent.HAS_IT, HAS_IT_ALREADY) if running else None
    if said.deployment != member.deployment:
        return None
    committed = said.update_state == UpdateState.COMMITTED.value and said.bundle == bundle
    if member.state is MemberState.SHADOWING:
        if said.outcome == SHADOWED:
            return MemberStep(member, MemberEvent.SHOWN, said.reason)
        if turned_down(said, bundle):
            return MemberStep(member, MemberEvent.FAIL, said.reason)
        if committed:
            why = "it was to decide unseen only, and put the bundle in charge"
            return MemberStep(member, MemberEvent.FAIL, why)
        return None
    left = member.state is MemberState.COMMITTED and running
    if member.state is not MemberState.ORDERED and not left:
        return None
    if turned_down(said, bundle):
        reason = f"it left the bundle after its commit: {said.reason}" if left else said.reason
        return MemberStep(member, MemberEvent.FAIL, reason)
    return MemberStep(member, MemberEvent.COMMIT, said.reason) if committed and not left else None


def _runs_it_anyway(member: RolloutMember, said: StationStatus, bundle: str) -> bool:
    """Return whether a station that is to decide unseen only runs the bundle, and not because its agent took no notice of that."""
    if said.bundle != bundle:
        return False
    committed = said.update_state == UpdateState.COMMITTED.value
    if said.deployment != member.deployment:
        return committed  # by another order, after which it refuses an older one
    # An agent that knows of such orders puts nothing in charge for one: it ran already (some say so by committing it anew).
    return said.outcome == SHADOWED or (committed and can_shadow(said.agent_version))


@dataclass(frozen=True, slots=True)
class HeardSince:
    """Since when the cloud can hear stations, Unix seconds. `noted`: what is said can be stored, as by who asks over HTTP.

    `broker`: and the broker brings it; never before `noted`.
    """

    noted: float
    broker: float


def as_seen(
    member: RolloutMember,
    said: StationStatus | None,
    now: float,
    since: HeardSince,
    *,
    shadow: bool,
    overtaken: bool = False,
) -> Member:
    """Return a station as the judge sees it at `now`; `since`: from when on its silence counts; `overtaken`: what it says of a
    newer order, which it is at, is its word on this one too.
    """
    ordered_s = None if member.ordered_at is None else now - member.ordered_at
    ended_s = float("inf") if member.ended_at is None else now - member.ended_at
    if said is None:
        return Member(
            member.station,
            member.wave,
            member.state,
            ordered_s,
            online=False,
            reason=member.reason,
            ended_s=ended_s,
            shadow=shadow,
        )
    said_at = said.reported_at if overtaken or said.deployment == member.deployment else 0.0
    if said.asked_at and said.asked_at <= (member.ordered_at or 0.0):
        said_at = now  # it has not asked since it was ordered
    return Member(
        member.station,
        member.wave,
        member.state,
        ordered_s,
        said.online,
        link_s=now - said.state_at,
        said_s=now - max(since.noted if said.asked_at else since.broker, said_at),
        reason=member.reason,
        ended_s=ended_s,
        shadow=shadow,
        slow_s=_BY_HTTP_S if said.asked_at else 0.0,
    )
