"""Numbers for the orders that travel in kits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from cloud.store.audit import write_audit
from cloud.store.database import Database
from cloud.store.tables import audit, desired, station_status, stations
from cloud.store.usable import check_usable_in
from contract.errors import NotFound

MAX_KIT_DAYS = 3650.0
"""The longest that a kit is accepted; one of which nothing is on record, from before this was noted, may be that one."""

_KIT = "kit"
_DETAIL = re.compile(r"(\S+): version (\S+), desired_seq (\d+)(?:, accepted for ([0-9.]+) days)?")


@dataclass(frozen=True, slots=True)
class KitOnItsWay:
    """An order that travels in a kit and is still accepted. Whether the kit was ever used is not known here."""

    station: str
    version: str
    desired_seq: int
    expires_at: float


def kits_under_way(connection: Connection, now: float) -> Iterator[KitOnItsWay]:
    """Yield every kit's order that a station may still accept at `now`, Unix seconds, as the audit log has them."""
    since = now - MAX_KIT_DAYS * 86_400
    query = select(audit.c.at, audit.c.detail).where(audit.c.act == _KIT, audit.c.at >= since)
    for row in connection.execute(query.order_by(audit.c.id)):
        if (found := _DETAIL.fullmatch(row.detail)) is not None:
            expires_at = row.at + float(found[4] or MAX_KIT_DAYS) * 86_400
            if expires_at >= now:
                yield KitOnItsWay(found[1], found[2], int(found[3]), expires_at)


class KitOrders:
    """Takes numbers from the desired table without changing what stands there for a station."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reserve(
        self, names: Sequence[str], version: str, actor: str, now: float, days: float = MAX_KIT_DAYS
    ) -> dict[str, int]:
        """Return the desired_seq of a kit's order for each station, all in one transaction, with a line in the audit log.

        Every later order has a higher one, so a kit that comes late is refused as outdated. What the broker tells the station
        stays as it is: making a kit deploys nothing. For `days` the version's bundle is not deleted (`kits_under_way`).

        Raises:
            NotFound: a station was never added; nothing was reserved.
            RefusedError: the version was retired.
        """
        numbers = {}
        with self._database.write() as connection:
            check_usable_in(connection, version)
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
                detail = f"{name}: version {version}, desired_seq {numbers[name]}, accepted for {days:.6g} days"
                write_audit(connection, now, actor, _KIT, detail)
        return numbers
