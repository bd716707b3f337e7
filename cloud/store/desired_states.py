"""What each station is to be told, as the broker's retained message has it."""

from __future__ import annotations

from sqlalchemy import select

from cloud.store.database import Database
from cloud.store.tables import desired
from contract.messages import DesiredState


class DesiredStates:
    """Reads the desired table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, station: str) -> DesiredState:
        """Return the station's desired state; with no envelope where it has no order."""
        with self._database.read() as connection:
            row = connection.execute(select(desired.c.envelope).where(desired.c.station == station)).first()
        return DesiredState(station, row.envelope if row else "")
