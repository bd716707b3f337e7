"""Commands sent to stations, and their answers."""

from __future__ import annotations

from sqlalchemy import Connection, update

from cloud.store.database import Database
from cloud.store.tables import commands
from contract.messages import Command, CommandResult


class Commands:
    """The commands table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sent(self, command: Command, now: float) -> None:
        """Record a command before it is sent."""
        row = {"id": command.id, "station": command.station, "name": command.name}
        with self._database.write() as connection:
            connection.execute(commands.insert().values(sent_at=now, expires_at=command.expires_at, **row))

    def answered(self, result: CommandResult) -> None:
        """Record a station's answer; an answer to another station's command changes nothing."""
        with self._database.write() as connection:
            write_answer(connection, result)


def write_answer(connection: Connection, result: CommandResult) -> None:
    """Record a station's answer in the transaction at hand."""
    same = (commands.c.id == result.id, commands.c.station == result.station)
    connection.execute(update(commands).where(*same).values(ok=result.ok, detail=result.detail))
