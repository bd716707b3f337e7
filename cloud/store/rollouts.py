"""Rollouts, their stations, and the orders that stations should have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import ColumnElement, or_, select, update

from cloud.ports.rollouts import MemberStep, Rollout, RolloutMember, StandingOrder
from cloud.rollout.rollout_states import LIVE, MemberEvent, MemberState, RolloutEvent, RolloutState, step_rollout
from cloud.store.approvals import Approvals, check_nobody_against
from cloud.store.audit import write_audit
from cloud.store.database import Database
from cloud.store.rollout_rows import MEMBER_COLUMNS, deployment_name, member_of, rollout_of
from cloud.store.rollout_steps import (
    being_aborted,
    change_rollout,
    check_running,
    going_forward,
    move_member,
    recall_member,
)
from cloud.store.standing_orders import StandingOrders
from cloud.store.tables import desired, rollout_stations, rollouts
from cloud.store.usable import check_usable_in
from contract.errors import NotFound, RefusedError, TransientError

# Any number but those of the other modules here.
_LOCK = 0x504C_4D57
_LIVE = [state.value for state in LIVE]
_BUSY_HINTS = {
    "ab": "two bundles are held side by side on purpose: conclude that first, or abort it",
    RolloutState.PROPOSED.value: "it waits for approvals: approve it, or abort it",
    RolloutState.PAUSED.value: "it is paused: resume it, or abort it",
}


class Rollouts(StandingOrders):
    """The rollouts, rollout_stations, approvals and desired tables."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.approvals = Approvals(database)

    def create(
        self,
        version: str,
        bundle: str,
        waves: Sequence[Sequence[str]],
        changed: Sequence[str],
        actor: str,
        now: float,
        *,
        kind: str = "release",
        plan: str = "{}",
        evidence: str = "{}",
        reason: str = "",
        proposed: bool = False,
        strata: Mapping[str, str] | None = None,
        arm_b: Sequence[str] = (),
    ) -> int:
        """Store a new rollout and return its id; `proposed`: it waits for approvals.

        Raises:
            RefusedError: another one is under way, there is no station, or the version was retired.
        """
        if not any(waves):
            raise RefusedError(
                "there is no station to roll out to", hint="add one with: plumbline-cloud station add NAME"
            )
        with self._database.write() as connection:
            if self._database.is_postgresql:
                # SQLite has one writer at a time; here two who start at once would not see each other.
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            check_usable_in(connection, version)
            busy = select(rollouts.c.id, rollouts.c.kind, rollouts.c.state).where(rollouts.c.state.in_(_LIVE))
            if (other := connection.execute(busy).first()) is not None:
                hint = _BUSY_HINTS.get(other.kind) or _BUSY_HINTS.get(other.state) or "wait for it or abort it"
                raise RefusedError(f"rollout {other.id} is still under way", hint=hint)
            state = RolloutState.PROPOSED if proposed else RolloutState.RUNNING
            changed_json = msgspec.json.encode(sorted(changed)).decode()
            row = {"version": version, "bundle": bundle, "state": state.value, "created_at": now, "reason": reason}
            row |= {"wave_started_at": now, "changed_stations": changed_json, "kind": kind, "author": actor}
            row |= {"plan": plan, "evidence": evidence}
            key = connection.execute(rollouts.insert().values(**row)).inserted_primary_key
            assert key is not None  # an autoincrement insert always has one
            b = set(arm_b)
            members = [
                {
                    "rollout": key[0],
                    "station": s,
                    "wave": w,
                    "state": MemberState.PLANNED.value,
                    "deployment": deployment_name(key[0], s, now),
                    "arm": ("b" if s in b else "a") if b else "",
                    "stratum": (strata or {}).get(s, "")[:250],
                }
                for w, wave in enumerate(waves)
                for s in wave
            ]
            connection.execute(rollout_stations.insert(), members)
            several = "" if len(waves) == 1 else "s"
            detail = f"rollout {key[0]} ({version}): to {len(members)} stations in {len(waves)} wave{several}"
            act = {"rollback": "rollback", "ab": "A/B rollout"}.get(kind, "rollout")
            write_audit(connection, now, actor, act, f"{detail}; {reason}" if reason else detail)
            return int(key[0])

    def all(self) -> list[Rollout]:
        """Return every rollout, oldest first."""
        return self._rollouts()

    def live(self) -> list[Rollout]:
        """Return the rollouts that are not over, oldest first."""
        return self._rollouts(rollouts.c.state.in_(_LIVE))

    def done(self) -> list[Rollout]:
        """Return the rollouts that are DONE, oldest first."""
        return self._rollouts(rollouts.c.state == RolloutState.DONE.value)

    def late(self) -> list[Rollout]:
        """Return the rollouts that are over while a station has still to be heard: ordered, or ordered back."""
        found = []
        for over, waits in ((RolloutState.DONE, MemberState.ORDERED), (RolloutState.ABORTED, MemberState.RECALLED)):
            waited = select(rollout_stations.c.rollout).where(rollout_stations.c.state == waits.value)
            found.append((rollouts.c.state == over.value) & rollouts.c.id.in_(waited))
        return self._rollouts(or_(*found))

    def get(self, rollout: int) -> Rollout:
        """Return one rollout.

        Raises:
            NotFound: no such rollout.
        """
        # Who asks for a number that no row can have must not learn what the database thinks of it.
        for found in self._rollouts(rollouts.c.id == rollout) if 0 < rollout < 1 << 31 else ():
            return found
        raise NotFound(f"no rollout {rollout}", hint="list them with: plumbline-cloud rollout list")

    def ran(self, bundle: str) -> bool:
        """Return whether stations ran a bundle, by what earlier rollouts found or achieved."""
        done = self._rollouts((rollouts.c.state == RolloutState.DONE.value) & (rollouts.c.bundle == bundle))
        query = select(rollout_stations.c.station).where(rollout_stations.c.previous_bundle == bundle).limit(1)
        with self._database.read() as connection:
            return bool(done) or connection.execute(query).first() is not None

    def members(self, rollout: int) -> list[RolloutMember]:
        """Return a rollout's stations, by wave and name."""
        table = rollout_stations
        query = select(*MEMBER_COLUMNS).where(table.c.rollout == rollout).order_by(table.c.wave, table.c.station)
        with self._database.read() as connection:
            return [member_of(row) for row in connection.execute(query)]

    def note(self, rollout: Rollout, *, hold: str, evidence: str) -> None:
        """Store why a rollout does not move and what was judged, unless its state has changed since it was read."""
        table = rollouts
        same = (table.c.id == rollout.id, table.c.state == rollout.state.value, table.c.wave == rollout.wave)
        with self._database.write() as connection:
            connection.execute(update(table).where(*same).values(hold=hold, evidence=evidence))

    def replan(self, rollout: Rollout, plan: str, actor: str, act: str, detail: str, now: float) -> None:
        """Store a decision of a person about a rollout under way.

        Raises:
            IllegalTransition: the rollout has moved on since it was read.
        """
        with self._database.write() as connection:
            change_rollout(connection, rollout, {"plan": plan, "hold": ""})
            write_audit(connection, now, actor, act, f"rollout {rollout.id} ({rollout.version}): {detail}")

    def order(
        self, member: RolloutMember, event: MemberEvent, order: StandingOrder, previous_bundle: str, now: float
    ) -> None:
        """Store an order with the member's step that it carries out (ORDER, SHADOW or RECALL), in one transaction.

        `previous_bundle` is what the station reported to run when it was first ordered: where a recall leads back to. The member
        bears the order's deployment from then on.

        Raises:
            IllegalTransition: the rollout was paused or stopped meanwhile, or the station has moved on.
            TransientError: a kit took the order's number meanwhile; sign it again with the next one.
        """
        extra: dict[str, object] = {"ordered_at": now, "previous_bundle": previous_bundle, "ended_at": None}
        if order.facts is not None:
            extra["deployment"] = order.facts.deployment
        with self._database.write() as connection:
            check_running(connection, member.rollout)
            self._stand(connection, order)
            move_member(connection, member, event, extra)
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
            recall_member(connection, member, order, back_to, reason, now)
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
            for member in going_forward(connection, order.station):
                move_member(connection, member, MemberEvent.SKIP, {"ended_at": now, "reason": f"{act}: {reason}"})
            for member in being_aborted(connection, order.station):
                recall_member(connection, member, order, order.bundle, f"{act}: {reason}", now)
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

    def withdraw(self, member: RolloutMember, reason: str, now: float) -> None:
        """Recall a station that has nothing to go back to: no order stands for it any more. Its desired_seq stays."""
        none = {"bundle": "", "envelope": "", "published": False, "facts": ""}
        with self._database.write() as connection:
            connection.execute(update(desired).where(desired.c.station == member.station).values(**none))
            move_member(connection, member, MemberEvent.RECALL, {"ended_at": now, "reason": reason})
            write_audit(connection, now, "plumbline", "withdraw", f"{member.deployment}: {reason}")

    def step_member(self, member: RolloutMember, event: MemberEvent, reason: str, now: float) -> None:
        """Move a station of a rollout on."""
        self.step_members([MemberStep(member, event, reason)], now)

    def step_members(self, steps: Sequence[MemberStep], now: float) -> None:
        """Move many stations on, in one transaction: all of them or, where one has moved on meanwhile, none."""
        with self._database.write() as connection:
            for step in steps:
                move_member(connection, step.member, step.event, {"ended_at": now, "reason": step.reason})
                detail = f"{step.member.deployment}: {step.reason or 'healthy'}"
                write_audit(connection, now, step.member.station, step.event.value, detail)

    def advance(self, rollout: Rollout, now: float) -> None:
        """Start the next wave.

        Raises:
            IllegalTransition: the rollout has moved on since it was read.
        """
        with self._database.write() as connection:
            change_rollout(connection, rollout, {"wave": rollout.wave + 1, "wave_started_at": now})
            write_audit(connection, now, "plumbline", "wave", f"rollout {rollout.id} starts wave {rollout.wave + 1}")

    def step(
        self, rollout: Rollout, event: RolloutEvent, actor: str, reason: str, now: float, *, hold: str = ""
    ) -> None:
        """Move a rollout on; `hold` says why it does not go further by itself.

        Raises:
            IllegalTransition: its state has no such step, or it has moved on since it was read.
        """
        state = step_rollout(rollout.state, event)
        ended = now if state in (RolloutState.DONE, RolloutState.ABORTED) else None
        with self._database.write() as connection:
            values = {"state": state.value, "reason": reason or rollout.reason, "ended_at": ended, "hold": hold}
            if event is RolloutEvent.APPROVE:
                values["wave_started_at"] = now
            change_rollout(connection, rollout, values)
            if event is RolloutEvent.APPROVE:
                # Nobody can say anything more from here on, but somebody may have, since the loop looked.
                check_nobody_against(connection, rollout.id)
            write_audit(connection, now, actor, event.value, f"rollout {rollout.id} ({rollout.version}): {reason}")

    def _rollouts(self, *where: ColumnElement[bool]) -> list[Rollout]:
        query = select(rollouts).where(*where).order_by(rollouts.c.id)
        with self._database.read() as connection:
            return [rollout_of(row._mapping) for row in connection.execute(query)]
