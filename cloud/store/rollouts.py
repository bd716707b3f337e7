"""Rollouts, their stations, and the orders that stations should have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, select, update

from cloud.ports.rollouts import Rollout, RolloutMember, StandingOrder
from cloud.rollout.rollout_states import (
    MEMBER_TABLE,
    MemberEvent,
    MemberState,
    RolloutEvent,
    RolloutState,
    step_member,
    step_rollout,
)
from cloud.store.audit import write_audit
from cloud.store.database import Database
from cloud.store.rollout_rows import deployment_name, member_of, rollout_of, standing_of
from cloud.store.tables import desired, rollout_stations, rollouts, station_status
from contract.errors import IllegalTransition, NotFound, RefusedError, TransientError


class Rollouts:
    """The rollouts, rollout_stations and desired tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, version: str, bundle: str, waves: Sequence[Sequence[str]], changed: Sequence[str], actor: str, now: float
    ) -> int:
        """Store a new rollout and return its id.

        Raises:
            RefusedError: another one is under way, or there is no station.
        """
        if not waves:
            raise RefusedError(
                "there is no station to roll out to", hint="add one with: plumbline-cloud station add NAME"
            )
        with self._database.write() as connection:
            busy = select(rollouts.c.id).where(rollouts.c.state.in_([RolloutState.RUNNING, RolloutState.ABORTING]))
            if (other := connection.execute(busy).scalar()) is not None:
                raise RefusedError(f"rollout {other} is still under way", hint="wait for it or abort it")
            changed_json = msgspec.json.encode(sorted(changed)).decode()
            row = {"version": version, "bundle": bundle, "state": RolloutState.RUNNING.value, "created_at": now}
            row |= {"wave_started_at": now, "changed_stations": changed_json}
            key = connection.execute(rollouts.insert().values(**row)).inserted_primary_key
            assert key is not None  # an autoincrement insert always has one
            members = [
                {
                    "rollout": key[0],
                    "station": s,
                    "wave": w,
                    "state": MemberState.PLANNED.value,
                    "deployment": deployment_name(key[0], s, now),
                }
                for w, wave in enumerate(waves)
                for s in wave
            ]
            connection.execute(rollout_stations.insert(), members)
            write_audit(
                connection, now, actor, "rollout", f"{version} to {len(members)} stations in {len(waves)} waves"
            )
            return int(key[0])

    def all(self) -> list[Rollout]:
        """Return every rollout, oldest first."""
        with self._database.read() as connection:
            return [rollout_of(row._mapping) for row in connection.execute(select(rollouts).order_by(rollouts.c.id))]

    def get(self, rollout: int) -> Rollout:
        """Return one rollout.

        Raises:
            NotFound: no such rollout.
        """
        for found in self.all():
            if found.id == rollout:
                return found
        raise NotFound(f"no rollout {rollout}", hint="list them with: plumbline-cloud rollout list")

    def members(self, rollout: int) -> list[RolloutMember]:
        """Return a rollout's stations, by wave and name."""
        table = rollout_stations
        query = select(table).where(table.c.rollout == rollout).order_by(table.c.wave, table.c.station)
        with self._database.read() as connection:
            return [member_of(row._mapping) for row in connection.execute(query)]

    def next_seq(self, station: str) -> int:
        """Return the desired_seq that the next order of `station` must bear.

        What the station says it followed counts too: this database may be a restored one, or a key was in other hands.
        """
        with self._database.read() as connection:
            last = connection.execute(select(desired.c.desired_seq).where(desired.c.station == station)).scalar()
            said = connection.execute(
                select(station_status.c.desired_seq).where(station_status.c.station == station)
            ).scalar()
        return max(last or 0, said or 0) + 1

    def order(
        self, member: RolloutMember, event: MemberEvent, order: StandingOrder, previous_bundle: str, now: float
    ) -> None:
        """Store an order with the member's step that it carries out (ORDER or RECALL), in one transaction.

        `previous_bundle` is what the station reported to run when it was first ordered: where a recall leads back to.

        Raises:
            TransientError: a kit took the order's number meanwhile; sign it again with the next one.
        """
        with self._database.write() as connection:
            self._stand(connection, order)
            _step(connection, member, event, {"ordered_at": now, "previous_bundle": previous_bundle})
            detail = f"{order.station}: bundle {order.bundle[:12]}, desired_seq {order.desired_seq}"
            write_audit(connection, now, "plumbline", event.value, detail)

    def recall(self, member: RolloutMember, order: StandingOrder, back_to: str, reason: str, now: float) -> None:
        """Store an order that takes a member back to `back_to`, "" for nothing, with that step, in one transaction.

        The member bears the order's deployment from then on.

        Raises:
            TransientError: a kit took the order's number meanwhile; sign it again with the next one.
        """
        with self._database.write() as connection:
            self._stand(connection, order)
            _recall(connection, member, order, back_to, reason, now)
            what = f"bundle {back_to[:12]}" if back_to else "run nothing"
            detail = f"{order.station}: {what}, desired_seq {order.desired_seq}: {reason}"
            write_audit(connection, now, "plumbline", MemberEvent.RECALL.value, detail)

    def former_bundle(self, station: str, bundle: str) -> str:
        """Return what a station ran before `bundle` by what earlier rollouts found, "" when that is not known."""
        table = rollout_stations
        query = select(table.c.previous_bundle).where(
            table.c.station == station, table.c.previous_bundle.not_in(["", bundle])
        )
        with self._database.read() as connection:
            return connection.execute(query.order_by(table.c.rollout.desc()).limit(1)).scalar() or ""

    def order_apart(self, order: StandingOrder, actor: str, act: str, reason: str, now: float) -> None:
        """Store an order that belongs to no rollout, in one transaction.

        It takes the place of the way back that a rollout which is being aborted had, or would have, for the station. One that
        goes forward goes on without it.

        Raises:
            TransientError: another order took its number meanwhile.
        """
        with self._database.write() as connection:
            self._stand(connection, order)
            for member in _going_forward(connection, order.station):
                _step(connection, member, MemberEvent.SKIP, {"ended_at": now, "reason": f"{act}: {reason}"})
            for member in _being_aborted(connection, order.station):
                _recall(connection, member, order, order.bundle, f"{act}: {reason}", now)
            write_audit(connection, now, actor, act, f"{order.station}: {reason} (desired_seq {order.desired_seq})")

    def renew(self, old: StandingOrder, new: StandingOrder, now: float) -> None:
        """Let `new`, the same order signed anew, stand in the place of `old`, in one transaction.

        Raises:
            TransientError: another order stands meanwhile, or a kit took a number.
        """
        with self._database.write() as connection:
            own = select(desired.c.desired_seq).where(desired.c.station == old.station).with_for_update()
            if connection.execute(own).scalar() != old.desired_seq:
                raise TransientError(f"{old.station} was given another order meanwhile")
            self._stand(connection, new)
            detail = f"{new.station}: order {old.desired_seq} signed anew as {new.desired_seq}"
            write_audit(connection, now, "plumbline", "renew", detail)

    def _stand(self, connection: Connection, order: StandingOrder) -> None:
        own = select(desired.c.desired_seq).where(desired.c.station == order.station).with_for_update()
        if (connection.execute(own).scalar() or 0) >= order.desired_seq:
            raise TransientError(f"number {order.desired_seq} of {order.station} was taken meanwhile")
        values = {"station": order.station, "desired_seq": order.desired_seq, "bundle": order.bundle}
        facts = msgspec.json.encode(order.facts).decode() if order.facts is not None else ""
        values |= {"envelope": order.envelope, "published": False, "facts": facts}
        connection.execute(self._database.upsert(desired, "station", values))

    def withdraw(self, member: RolloutMember, reason: str, now: float) -> None:
        """Recall a station that has nothing to go back to: no order stands for it any more. Its desired_seq stays."""
        none = {"bundle": "", "envelope": "", "published": False, "facts": ""}
        with self._database.write() as connection:
            connection.execute(update(desired).where(desired.c.station == member.station).values(**none))
            _step(connection, member, MemberEvent.RECALL, {"ended_at": now, "reason": reason})
            write_audit(connection, now, "plumbline", "withdraw", f"{member.deployment}: {reason}")

    def step_member(self, member: RolloutMember, event: MemberEvent, reason: str, now: float) -> None:
        """Move a station of a rollout on."""
        with self._database.write() as connection:
            _step(connection, member, event, {"ended_at": now, "reason": reason})
            write_audit(connection, now, member.station, event.value, f"{member.deployment}: {reason or 'healthy'}")

    def advance(self, rollout: Rollout, now: float) -> None:
        """Start the next wave.

        Raises:
            IllegalTransition: the rollout has moved on since it was read.
        """
        with self._database.write() as connection:
            _change(connection, rollout, {"wave": rollout.wave + 1, "wave_started_at": now})
            write_audit(connection, now, "plumbline", "wave", f"rollout {rollout.id} starts wave {rollout.wave + 1}")

    def step(self, rollout: Rollout, event: RolloutEvent, actor: str, reason: str, now: float) -> None:
        """Move a rollout on.

        Raises:
            IllegalTransition: its state has no such step, or it has moved on since it was read.
        """
        state = step_rollout(rollout.state, event)
        ended = now if state in (RolloutState.DONE, RolloutState.ABORTED) else None
        with self._database.write() as connection:
            values = {"state": state.value, "reason": reason or rollout.reason, "ended_at": ended}
            _change(connection, rollout, values)
            write_audit(connection, now, actor, event.value, f"rollout {rollout.id} ({rollout.version}): {reason}")

    def standing(self, station: str) -> StandingOrder | None:
        """Return the newest order of a station, None when it never had one."""
        with self._database.read() as connection:
            row = connection.execute(select(desired).where(desired.c.station == station)).first()
        return None if row is None else standing_of(row._mapping)

    def all_standing(self) -> list[StandingOrder]:
        """Return the newest order of each station that has one, by station."""
        query = select(desired).where(desired.c.envelope != "").order_by(desired.c.station)
        with self._database.read() as connection:
            return [standing_of(row._mapping) for row in connection.execute(query)]

    def unpublished(self) -> list[StandingOrder]:
        """Return the orders that the broker has not taken yet."""
        with self._database.read() as connection:
            rows = connection.execute(select(desired).where(desired.c.published.is_(False)))
            return [standing_of(row._mapping) for row in rows]

    def mark_published(self, order: StandingOrder) -> None:
        """Record that the broker took this very order."""
        table = desired
        same = (table.c.station == order.station, table.c.desired_seq == order.desired_seq)
        with self._database.write() as connection:
            connection.execute(update(table).where(*same).values(published=True))

    def republish_all(self) -> None:
        """Mark every order as not yet taken: a broker that lost its retained messages must get them again."""
        with self._database.write() as connection:
            connection.execute(update(desired).values(published=False))


def _step(connection: Connection, member: RolloutMember, event: MemberEvent, extra: dict[str, object]) -> None:
    state = step_member(member.state, event)
    table = rollout_stations
    same = (table.c.rollout == member.rollout, table.c.station == member.station, table.c.state == member.state.value)
    if connection.execute(update(table).where(*same).values(state=state.value, **extra)).rowcount == 0:
        raise IllegalTransition(f"'{member.station}' has moved on meanwhile", hint="look at the rollout again")


def _change(connection: Connection, rollout: Rollout, values: Mapping[str, object]) -> None:
    # A person's abort and the loop's next step may meet: whoever read the older state changes nothing.
    table = rollouts
    same = (table.c.id == rollout.id, table.c.state == rollout.state.value, table.c.wave == rollout.wave)
    if connection.execute(update(table).where(*same).values(**values)).rowcount == 0:
        raise IllegalTransition(f"rollout {rollout.id} has moved on meanwhile", hint="look at it again")


def _recall(
    connection: Connection, member: RolloutMember, order: StandingOrder, back_to: str, reason: str, now: float
) -> None:
    extra: dict[str, object] = {"ordered_at": now, "previous_bundle": back_to, "reason": reason}
    if order.facts is not None:
        extra["deployment"] = order.facts.deployment
    _step(connection, member, MemberEvent.RECALL, extra)


def _going_forward(connection: Connection, station: str) -> list[RolloutMember]:
    """Return the station's part in a rollout that goes forward, where it can be taken out of it."""
    table = rollout_stations
    states = [state.value for state, rows in MEMBER_TABLE.items() if MemberEvent.SKIP in rows]
    query = select(table).join(rollouts, rollouts.c.id == table.c.rollout)
    query = query.where(rollouts.c.state == RolloutState.RUNNING, table.c.station == station, table.c.state.in_(states))
    return [member_of(row._mapping) for row in connection.execute(query)]


def _being_aborted(connection: Connection, station: str) -> list[RolloutMember]:
    """Return the station's part in a rollout that is being aborted, where it was ordered something in it."""
    table = rollout_stations
    states = [state.value for state, rows in MEMBER_TABLE.items() if MemberEvent.RECALL in rows]
    query = select(table).join(rollouts, rollouts.c.id == table.c.rollout)
    query = query.where(
        rollouts.c.state == RolloutState.ABORTING, table.c.station == station, table.c.state.in_(states)
    )
    return [member_of(row._mapping) for row in connection.execute(query)]
