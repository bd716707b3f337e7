"""What people said to rollouts that ask for it."""

from __future__ import annotations

from sqlalchemy import Connection, select

from cloud.ports.rollouts import Approval
from cloud.rollout.rollout_states import RolloutState
from cloud.store.audit import write_audit
from cloud.store.database import Database
from cloud.store.operate_tables import approvals
from cloud.store.tables import rollouts
from contract.errors import IllegalTransition, RefusedError


class Approvals:
    """The approvals table. Nothing in it is ever changed; the newest word of each person stands."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def say(self, rollout: int, person: str, approved: bool, note: str, now: float) -> None:
        """Record what a person says, and the line in the audit log with it.

        Raises:
            RefusedError: they said just that before, or the rollout waits for nobody any more.
        """
        with self._database.write() as connection:
            state = select(rollouts.c.state).where(rollouts.c.id == rollout).with_for_update()
            if (now_is := connection.execute(state).scalar()) != RolloutState.PROPOSED.value:
                raise RefusedError(f"rollout {rollout} is {now_is} and waits for no approval", hint="look at it again")
            before = {each.person.casefold(): each.approved for each in _standing(connection, rollout)}
            if before.get(person.casefold()) is approved:
                said = "approved" if approved else "declined"
                hint = "it takes another person's word, or another word"
                raise RefusedError(f"'{person}' has {said} rollout {rollout} before", hint=hint)
            row = {"rollout": rollout, "person": person, "approved": approved, "note": note, "at": now}
            connection.execute(approvals.insert().values(**row))
            act = "approve rollout" if approved else "decline rollout"
            write_audit(connection, now, person, act, f"rollout {rollout}: {note}")

    def of(self, rollout: int) -> list[Approval]:
        """Return what stands: the newest word of each person, oldest first."""
        with self._database.read() as connection:
            return _standing(connection, rollout)


def check_nobody_against(connection: Connection, rollout: int) -> None:
    """Do nothing where nobody's newest word is a no.

    Raises:
        IllegalTransition: somebody declined meanwhile.
    """
    if against := [each.person for each in _standing(connection, rollout) if not each.approved]:
        raise IllegalTransition(f"rollout {rollout} was declined by {', '.join(against)} meanwhile")


def _standing(connection: Connection, rollout: int) -> list[Approval]:
    query = select(approvals).where(approvals.c.rollout == rollout).order_by(approvals.c.id)
    newest: dict[str, Approval] = {}
    for row in connection.execute(query):
        newest.pop(row.person.casefold(), None)
        newest[row.person.casefold()] = Approval(row.person, bool(row.approved), row.note, row.at)
    return list(newest.values())
