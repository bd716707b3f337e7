"""What a station says of its updates."""

from __future__ import annotations

from agent.update.slot_state import CommitMark, Ending
from contract.messages import SHADOWED, Order, ReportedState
from contract.update_states import UpdateState

_MAX_REASON_CHARS = 500


def under_way(
    station: str, boot: str, at: float, mark: CommitMark | None, order: Order, state: UpdateState, reason: str
) -> ReportedState:
    """Return the report of an update that has not ended; `mark` is the last commit, whose bundle runs meanwhile."""
    return ReportedState(
        station=station,
        boot=boot,
        at=at,
        bundle=mark.digest if mark else "",
        update_state=state.value,
        deployment=order.deployment,
        candidate=order.bundle,
        reason=reason[:_MAX_REASON_CHARS],
        desired_seq=order.desired_seq,
    )


def at_rest(
    station: str, boot: str, at: float, mark: CommitMark | None, last: Ending | None, reason: str = ""
) -> ReportedState:
    """Return the report of a station that updates nothing: how its last update ended, or IDLE when there was none."""
    bundle = mark.digest if mark else ""
    if last is None:
        state = UpdateState.IDLE.value
        return ReportedState(station, boot, at, bundle, state, reason=reason[:_MAX_REASON_CHARS])
    ended = UpdateState.COMMITTED if last.kept else UpdateState.IDLE if last.shadowed else UpdateState.ROLLED_BACK
    return ReportedState(
        station=station,
        boot=boot,
        at=at,
        bundle=bundle,
        update_state=ended.value,
        deployment=last.order.deployment,
        candidate=last.order.bundle,
        reason=(reason or last.reason)[:_MAX_REASON_CHARS],
        desired_seq=last.order.desired_seq,
        shadow_frames=last.frames,
        shadow_agreed=last.agreed,
        outcome=SHADOWED if last.shadowed else "",
    )
