"""Released versions that have no place yet: which these are, and what rollouts from before there were stages say of them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, select

from cloud.ports.versions import StageOf
from cloud.rollout.plan import read_plan
from cloud.rollout.rollout_states import RolloutState
from cloud.rollout.version_states import CANDIDATE_ALIAS, VersionStage
from cloud.store.database import Database
from cloud.store.tables import rollouts
from cloud.store.version_rows import put_alias, stages_in

_AB = "ab"


def to_adopt(connection: Connection, versions: Mapping[str, float]) -> tuple[set[str], dict[str, float]] | None:
    """Return versions without a place, and, without a champion, when rollouts of which ended well; None for neither."""
    stages, done = stages_in(connection), dict[str, float]()
    if all(each.stage is not VersionStage.CHAMPION for each in stages.values()):
        table = rollouts
        query = select(table).where(table.c.state == RolloutState.DONE.value, table.c.kind != _AB)
        for row in connection.execute(query.order_by(table.c.ended_at)):
            # Of a rollout to some stations nobody says that it reached everybody.
            everybody = not read_plan(row.plan).cohort
            if everybody and row.version in versions and _may_be_crowned(stages.get(row.version)):
                done[row.version] = row.ended_at
    new = versions.keys() - stages.keys()
    return (new, done) if new or done else None


def move_candidate(
    database: Database, connection: Connection, versions: Mapping[str, float], actor: str, now: float
) -> None:
    """Let `candidate` mean the newest version that is one, where it is newer than the champion."""
    stages = stages_in(connection)
    known = {name: stages[name].stage for name in versions if name in stages}
    newest = max(versions, key=lambda each: (versions[each], each), default="")
    if known.get(newest) is VersionStage.CANDIDATE:
        put_alias(database, connection, CANDIDATE_ALIAS, newest, actor, now)


def _may_be_crowned(found: StageOf | None) -> bool:
    return found is None or found.stage in (VersionStage.CANDIDATE, VersionStage.FORMER)
