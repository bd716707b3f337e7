"""The settings that stations should have over their agent.toml."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import select, update

from cloud.ports.configurations import StandingConfiguration
from cloud.store.audit import write_audit
from cloud.store.database import Database
from cloud.store.tables import configurations, station_status
from contract.config_states import settings_digest
from contract.errors import RefusedError


class Configurations:
    """The configurations table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def next_seq(self, station: str) -> int:
        """Return the config_seq that the next order of `station` must bear.

        What the station says it followed counts too: this database may be a restored one.
        """
        status = station_status
        with self._database.read() as connection:
            last = connection.execute(
                select(configurations.c.config_seq).where(configurations.c.station == station)
            ).scalar()
            said = connection.execute(select(status.c.config_seq).where(status.c.station == station)).scalar()
        return max(last or 0, said or 0) + 1

    def put(self, standing: StandingConfiguration, actor: str) -> None:
        """Store an order with its audit log entry.

        Raises:
            RefusedError: another one with its number was stored meanwhile.
        """
        table = configurations
        with self._database.write() as connection:
            newest = connection.execute(select(table.c.config_seq).where(table.c.station == standing.station)).scalar()
            if newest is not None and newest >= standing.config_seq:
                raise RefusedError(f"somebody else ordered settings for {standing.station}", hint="look at them again")
            connection.execute(self._database.upsert(table, "station", asdict(standing)))
            what = f"settings {settings_digest(standing.settings)[:12]}" if standing.settings else "no remote settings"
            detail = f"{standing.station}: {what}, config_seq {standing.config_seq}: {standing.reason}"
            write_audit(connection, standing.issued_at, actor, "configure", detail)

    def renew(self, old: StandingConfiguration, new: StandingConfiguration) -> None:
        """Let `new`, the same order signed anew, stand in the place of `old`, with its audit log entry.

        Raises:
            RefusedError: something else was ordered meanwhile.
        """
        table = configurations
        same = (table.c.station == old.station, table.c.config_seq == old.config_seq)
        with self._database.write() as connection:
            if connection.execute(update(table).where(*same).values(**asdict(new))).rowcount == 0:
                raise RefusedError(f"somebody else ordered settings for {old.station}", hint="look at them again")
            detail = f"{new.station}: settings {old.config_seq} signed anew as {new.config_seq}"
            write_audit(connection, new.issued_at, "plumbline", "renew", detail)

    def all_standing(self) -> list[StandingConfiguration]:
        """Return the newest settings of each station that has some, by station."""
        with self._database.read() as connection:
            rows = connection.execute(select(configurations).order_by(configurations.c.station))
            return [StandingConfiguration(**row._mapping) for row in rows]

    def standing(self, station: str) -> StandingConfiguration | None:
        """Return the newest settings of a station, None when it never had any."""
        with self._database.read() as connection:
            row = connection.execute(select(configurations).where(configurations.c.station == station)).first()
        return None if row is None else StandingConfiguration(**row._mapping)

    def unpublished(self) -> list[StandingConfiguration]:
        """Return the settings that the broker has not taken yet."""
        with self._database.read() as connection:
            rows = connection.execute(select(configurations).where(configurations.c.published.is_(False)))
            return [StandingConfiguration(**row._mapping) for row in rows]

    def mark_published(self, standing: StandingConfiguration) -> None:
        """Record that the broker took these very settings."""
        table = configurations
        same = (table.c.station == standing.station, table.c.config_seq == standing.config_seq)
        with self._database.write() as connection:
            connection.execute(update(table).where(*same).values(published=True))

    def republish_all(self) -> None:
        """Mark all as not yet taken: a broker that lost its retained messages must get them again."""
        with self._database.write() as connection:
            connection.execute(update(configurations).values(published=False))
