"""Which part each inspector has before them: a lease, so that two do not label one part without knowing of each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from cloud.store.database import Database
from cloud.store.operate_tables import review_claims

LEASE_S = 60.0
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class ReviewClaims:
    """The review_claims table. A claim that has run out is nobody's."""

    database: Database

    def take(self, sample: str, labeller: str, now: float) -> bool:
        """Claim a part for `LEASE_S` from `now`, or renew one's own claim; return False where another person has it."""
        values = {"sample": sample, "labeller": labeller, "until": now + LEASE_S}
        insert = (postgresql if self.database.is_postgresql else sqlite).insert(review_claims).values(**values)
        # `until` beyond a lease from now: the clock was set back, and whoever had it then is not asked.
        over = or_(review_claims.c.until <= now, review_claims.c.until > now + 2 * LEASE_S)
        taken = insert.on_conflict_do_update(
            index_elements=["sample"],
            set_={"labeller": labeller, "until": now + LEASE_S},
            where=or_(review_claims.c.labeller == labeller, over),
        )
        with self.database.write() as connection:
            return connection.execute(taken.returning(review_claims.c.sample)).first() is not None

    def release(self, sample: str, labeller: str) -> None:
        """Give a part back; nothing where another person has it by now."""
        mine = (review_claims.c.sample == sample, review_claims.c.labeller == labeller)
        with self.database.write() as connection:
            connection.execute(delete(review_claims).where(*mine))

    def holders(self, names: Collection[str], now: float) -> Mapping[str, str]:
        """Return who has each of these parts now; without those that nobody has."""
        found: dict[str, str] = {}
        wanted = sorted(names)
        with self.database.read() as connection:
            for start in range(0, len(wanted), _AT_ONCE):
                c = review_claims.c
                query = select(c.sample, c.labeller).where(
                    c.sample.in_(wanted[start : start + _AT_ONCE]), c.until > now, c.until <= now + 2 * LEASE_S
                )
                found.update((row.sample, row.labeller) for row in connection.execute(query))
        return found

    def forget_old(self, now: float) -> None:
        """Delete claims that ran out: the table holds one row a part that anybody ever looked at otherwise."""
        with self.database.write() as connection:
            connection.execute(delete(review_claims).where(review_claims.c.until <= now - LEASE_S))
