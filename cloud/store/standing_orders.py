"""The order that each station should have: the desired table."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select, update

from cloud.ports.rollouts import StandingOrder
from cloud.store.database import Database
from cloud.store.rollout_rows import standing_of
from cloud.store.tables import desired, station_status
from contract.errors import TransientError


class StandingOrders:
    """The desired table."""

    def __init__(self, database: Database) -> None:
        self._database = database

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

    def _stand(self, connection: Connection, order: StandingOrder) -> None:
        own = select(desired.c.desired_seq).where(desired.c.station == order.station).with_for_update()
        if (connection.execute(own).scalar() or 0) >= order.desired_seq:
            raise TransientError(f"number {order.desired_seq} of {order.station} was taken meanwhile")
        values = {"station": order.station, "desired_seq": order.desired_seq, "bundle": order.bundle}
        facts = msgspec.json.encode(order.facts).decode() if order.facts is not None else ""
        values |= {"envelope": order.envelope, "published": False, "facts": facts}
        connection.execute(self._database.upsert(desired, "station", values))
