"""Steps of rollouts and of their stations, inside the transaction at hand: whoever read an older state changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, select, update

from cloud.ports.rollouts import Rollout, RolloutMember, StandingOrder
from cloud.rollout.rollout_states import FORWARD, MEMBER_TABLE, MemberEvent, RolloutState, step_member
from cloud.store.rollout_rows import MEMBER_COLUMNS, member_of
from cloud.store.tables import rollout_stations, rollouts
from contract.errors import IllegalTransition


def move_member(connection: Connection, member: RolloutMember, event: MemberEvent, extra: Mapping[str, object]) -> None:
    """Move a station of a rollout on, and give it the columns of `extra`.

    Raises:
        IllegalTransition: its state has no such step, or it has moved on since it was read.
    """
    state = step_member(member.state, event)
    table = rollout_stations
    same = (table.c.rollout == member.rollout, table.c.station == member.station, table.c.state == member.state.value)
    if connection.execute(update(table).where(*same).values(state=state.value, **extra)).rowcount == 0:
        raise IllegalTransition(f"'{member.station}' has moved on meanwhile", hint="look at the rollout again")


def check_running(connection: Connection, rollout: int) -> None:
    """Do nothing where a rollout may order stations; whoever pauses or stops it meanwhile waits for this transaction.

    Raises:
        IllegalTransition: it may not: somebody was told that nobody is ordered any more.
    """
    query = select(rollouts.c.state).where(rollouts.c.id == rollout).with_for_update(read=True)
    state = connection.execute(query).scalar()
    if state != RolloutState.RUNNING.value:
        raise IllegalTransition(f"rollout {rollout} is {state} by now and orders nobody", hint="look at it again")


def change_rollout(connection: Connection, rollout: Rollout, values: Mapping[str, object]) -> None:
    """Give a rollout other columns.

    Raises:
        IllegalTransition: a person's abort and the loop's next step met, or two people's words, and the other one was first.
    """
    table = rollouts
    same = (table.c.state == rollout.state.value, table.c.wave == rollout.wave, table.c.plan == rollout.plan)
    if connection.execute(update(table).where(table.c.id == rollout.id, *same).values(**values)).rowcount == 0:
        raise IllegalTransition(f"rollout {rollout.id} has moved on meanwhile", hint="look at it again")


def recall_member(
    connection: Connection, member: RolloutMember, order: StandingOrder, back_to: str, reason: str, now: float
) -> None:
    """Let a station bear the order that takes it back."""
    extra: dict[str, object] = {"ordered_at": now, "previous_bundle": back_to, "reason": reason}
    if order.facts is not None:
        extra["deployment"] = order.facts.deployment
    move_member(connection, member, MemberEvent.RECALL, extra)


def going_forward(connection: Connection, station: str) -> list[RolloutMember]:
    """Return the station's part in a rollout that goes forward, where it can be taken out of it."""
    return _parts(connection, station, FORWARD, MemberEvent.SKIP)


def being_aborted(connection: Connection, station: str) -> list[RolloutMember]:
    """Return the station's part in a rollout that is being aborted, where it was ordered something in it."""
    parts = _parts(connection, station, (RolloutState.ABORTING,), MemberEvent.RECALL)
    return [member for member in parts if member.ordered_at is not None]


def _parts(
    connection: Connection, station: str, of: Collection[RolloutState], event: MemberEvent
) -> list[RolloutMember]:
    table = rollout_stations
    states = [state.value for state, rows in MEMBER_TABLE.items() if event in rows]
    query = select(*MEMBER_COLUMNS).join(rollouts, rollouts.c.id == table.c.rollout)
    among = rollouts.c.state.in_([state.value for state in of])
    query = query.where(among, table.c.station == station, table.c.state.in_(states))
    return [member_of(row) for row in connection.execute(query)]
