"""Numbers for the orders that travel in kits."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update

from cloud.store.audit import write_audit
from cloud.store.database import Database
from cloud.store.tables import desired, station_status, stations
from contract.errors import NotFound


class KitOrders:
    """Takes numbers from the desired table without changing what stands there for a station."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reserve(self, names: Sequence[str], version: str, actor: str, now: float) -> dict[str, int]:
        """Return the desired_seq of a kit's order for each station, all in one transaction, with a line in the audit log.

        Every later order has a higher one, so a kit that comes late is refused as outdated. What the broker tells the station
        stays as it is: making a kit deploys nothing.

        Raises:
            NotFound: a station was never added; nothing was reserved.
        """
        numbers = {}
        with self._database.write() as connection:
            known = set(connection.execute(select(stations.c.station)).scalars())
            for name in dict.fromkeys(names):
                if name not in known:
                    raise NotFound(f"no station '{name}'", hint="add it with: plumbline-cloud station add NAME")
                row = {"station": name, "desired_seq": 0, "bundle": "", "envelope": "", "published": True}
                connection.execute(self._database.insert_new(desired).values(**row))
                own = desired.c.station == name
                last = connection.execute(select(desired.c.desired_seq).where(own)).scalar_one()
                said = connection.execute(
                    select(station_status.c.desired_seq).where(station_status.c.station == name)
                ).scalar()
                numbers[name] = max(int(last), said or 0) + 1
                connection.execute(update(desired).where(own).values(desired_seq=numbers[name]))
                write_audit(connection, now, actor, "kit", f"{name}: version {version}, desired_seq {numbers[name]}")
        return numbers
