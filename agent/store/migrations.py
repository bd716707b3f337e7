"""The steps of the schema as sqlite-utils applies them: to a file that an older agent made, each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from agent.store.schema import SET, STEPS

migrations = Migrations(SET)


def _step(statements: Sequence[str]) -> Callable[[Database], None]:
    def apply(db: Database) -> None:
        for statement in statements:
            db.execute(statement)

    return apply


for _name, _statements in STEPS:
    migrations(name=_name)(_step(_statements))
