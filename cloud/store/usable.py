"""Whether a version may be ordered, asked in the very transaction that orders it."""

from __future__ import annotations

from sqlalchemy import Connection, select

from cloud.rollout.version_states import VersionStage
from cloud.store.operate_tables import version_stages
from contract.errors import RefusedError

_NOT_USABLE = {VersionStage.RETIRED.value: "retired", VersionStage.PRUNED.value: "retired and its files deleted"}


def check_usable_in(connection: Connection, version: str) -> None:
    """Do nothing where a version may be rolled out or put into a kit; whoever retires it meanwhile waits for this transaction.

    Raises:
        RefusedError: it was retired; the message says by whom and why.
    """
    table = version_stages
    row = connection.execute(select(table).where(table.c.version == version).with_for_update()).first()
    if row is not None and row.stage in _NOT_USABLE:
        why = f": {row.reason}" if row.reason else ""
        hint = "choose another one"
        if row.stage == VersionStage.RETIRED.value:
            hint += f", or first: plumbline-cloud version unretire {version} --reason WHY"
        raise RefusedError(f"version '{version}' was {_NOT_USABLE[row.stage]} by {row.actor}{why}", hint=hint)
