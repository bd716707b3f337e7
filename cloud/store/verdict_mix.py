"""How the fleet's verdicts were spread of late: read from the newest summaries, as many as a page can afford."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from cloud.store.database import Database
from cloud.store.summary_tables import summaries

MOST_ROWS = 20_000
_BUCKETS = 24
_LEAST_BUCKET_S = 60.0


@dataclass(frozen=True, slots=True)
class VerdictBucket:
    """Frames of all stations from `at` on, by what became of them; `lost` were dropped or never decided."""

    at: float
    passed: int
    rejected: int
    review: int
    lost: int


@dataclass(frozen=True, slots=True)
class VerdictMix:
    """The newest frames, bucket by bucket of `bucket_s` seconds."""

    bucket_s: float
    buckets: Sequence[VerdictBucket]


def verdict_mix(database: Database, now: float, hours: float = 12.0) -> VerdictMix:
    """Return the last `hours`; of a fleet that tells more than `MOST_ROWS` summaries in them, as far back as those reach."""
    c = summaries.c
    query = select(c.filed_at, c.passed, c.rejected, c.decided, c.dropped, c.undecided)
    query = query.where(c.level == 0, c.filed_at >= now - hours * 3600.0, c.filed_at <= now + 3600.0)
    with database.read() as connection:
        rows = connection.execute(query.order_by(c.filed_at.desc()).limit(MOST_ROWS)).all()
    if not rows:
        return VerdictMix(hours * 3600.0 / _BUCKETS, ())
    since = min(row.filed_at for row in rows)
    size = max((now - since) / _BUCKETS, _LEAST_BUCKET_S)
    sums: dict[int, list[int]] = {}
    for row in rows:
        found = sums.setdefault(int(row.filed_at // size), [0, 0, 0, 0])
        found[0] += row.passed
        found[1] += row.rejected
        found[2] += row.decided - row.passed - row.rejected
        found[3] += row.dropped + row.undecided
    return VerdictMix(size, [VerdictBucket(number * size, *sums[number]) for number in sorted(sums)])
