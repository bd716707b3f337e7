"""The rows of the version_stages and version_aliases tables, in a transaction at hand: read, locked, added, moved.

Nothing here asks whether a change may be made, nor writes the audit log: `cloud.store.versions` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select, update

from cloud.ports.versions import AliasOf, StageOf
from cloud.rollout.version_states import CANDIDATE_ALIAS, CHAMPION_ALIAS, VersionEvent, VersionStage, step_stage
from cloud.store.database import Database
from cloud.store.operate_tables import version_aliases, version_stages
from contract.errors import NotFound


def stages_in(connection: Connection) -> dict[str, StageOf]:
    """Return where each version stands that has a row."""
    return {row.version: _stage_of(row._mapping) for row in connection.execute(select(version_stages))}


def aliases_in(connection: Connection) -> list[AliasOf]:
    """Return every alias, by name."""
    query = select(version_aliases).order_by(version_aliases.c.alias)
    return [AliasOf(**row._mapping) for row in connection.execute(query)]


def resolve_in(connection: Connection, name: str) -> str:
    """Return the version that `name` means: an alias, or else the version itself, whether or not there is one.

    Raises:
        NotFound: nothing is champion, or candidate, now.
    """
    # A version's own name is older than any alias, and means itself.
    if connection.execute(select(version_stages.c.version).where(version_stages.c.version == name)).first():
        return name
    found = connection.execute(select(version_aliases.c.version).where(version_aliases.c.alias == name)).scalar()
    if found is not None:
        return str(found)
    if name == CHAMPION_ALIAS:
        raise NotFound("no version is champion yet", hint="one is when a rollout of it reached everybody")
    if name == CANDIDATE_ALIAS:
        raise NotFound("no version is candidate now", hint="the next release is")
    return name


def locked_stage(database: Database, connection: Connection, version: str, now: float) -> StageOf:
    """Return where a version stands, its row locked; one without a row gets that of a candidate."""
    add_candidate(database, connection, version, "plumbline", "", now)
    own = version_stages.c.version == version
    return _stage_of(connection.execute(select(version_stages).where(own).with_for_update()).one()._mapping)


def add_candidate(database: Database, connection: Connection, version: str, actor: str, reason: str, at: float) -> None:
    """Give a version the row of a candidate; one that has a row keeps it."""
    row = {"version": version, "stage": VersionStage.CANDIDATE.value, "actor": actor, "reason": reason, "at": at}
    connection.execute(database.insert_new(version_stages).values(**row))


def step_row(connection: Connection, found: StageOf, event: VersionEvent, actor: str, reason: str, at: float) -> None:
    """Move a version's row as the state table says.

    Raises:
        IllegalTransition: it says nothing of `event` where the version stands.
    """
    stage = step_stage(found.stage, event)
    own = version_stages.c.version == found.version
    values = {"stage": stage.value, "actor": actor, "reason": reason, "at": at}
    connection.execute(update(version_stages).where(own).values(**values))


def put_alias(database: Database, connection: Connection, alias: str, version: str, actor: str, now: float) -> None:
    """Let `alias` mean `version`, whatever it meant."""
    row = {"alias": alias, "version": version, "actor": actor, "at": now}
    connection.execute(database.upsert(version_aliases, "alias", row))


def _stage_of(row: Mapping[Any, Any]) -> StageOf:
    return StageOf(**{**row, "stage": VersionStage(row["stage"])})
