"""What goes when room runs out: results, kept images and waiting summaries inside one disk budget, least valued first (P4, P5).

The budget is `disk_mib`. The database and the images each have a share of it, so that a day of results cannot push out the
images and neither can grow past the sum. Inside the database's share, in this order: result rows whose summary the cloud has
acknowledged; rows of closed windows, whose counts wait in the outbox; then waiting summaries are merged into coarser ones,
and only then into gap records, which keep every count. Images go by `Samples.evict_by_value`. A quarantined database goes
before any of this. Whatever goes is counted by cause, and the next summary says so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.store.outbox import Outbox
from agent.store.results import forget_closed, forget_old
from agent.store.samples import Samples

_MIB = 1 << 20
_UNBOUNDED = 1 << 60
# An estimate to begin with (136 were measured with an 11-character part and a 64-character digest); deletion goes on as needed.
_ROW_BYTES = 160
# A page is only free once it is empty, so fewer at a time free nothing; more at a time hold the line's rows up.
_LEAST_ROWS, _MOST_ROWS = 128, 20_000
# The write-ahead log is cut back to 4 MiB; a reader that holds an old snapshot makes it longer for a while.
_LOG_BYTES = 8 * _MIB
# Room left to everybody else on the disk: ours are the first to make place.
_LEAVE_FREE_BYTES = 16 * _MIB
_SHED_BYTES = 8 * _MIB


@dataclass(frozen=True, slots=True)
class DiskShares:
    """How one budget is shared. The outbox lies inside the database."""

    database_bytes: int = _UNBOUNDED
    outbox_bytes: int = _UNBOUNDED
    samples_bytes: int = _UNBOUNDED

    @classmethod
    def of(cls, disk_bytes: int, *, outbox_bytes: int, samples_bytes: int) -> DiskShares:
        """Split `disk_bytes`; the other two are caps, and never more than a quarter and a half of it."""
        samples = min(samples_bytes, disk_bytes // 2)
        log = min(_LOG_BYTES, disk_bytes // 8)
        return cls(disk_bytes - samples - log, min(outbox_bytes, disk_bytes // 4), samples)


class Retention:
    """Keeps the store within its shares. The recorder's thread calls everything, `make_room` inside its transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        outbox: Outbox,
        samples: Samples,
        *,
        keep_rows: int,
        shares: DiskShares | None = None,
        free_bytes: Callable[[], int] | None = None,
        evidence: Callable[[], list[Path]] | None = None,
    ) -> None:
        """`free_bytes` says what the file system has left; `evidence` names the files of a quarantined database."""
        self._connection = connection
        self._outbox = outbox
        self._samples = samples
        self._keep_rows = keep_rows
        self._shares = shares or DiskShares()
        self._free_bytes = free_bytes or (lambda: _UNBOUNDED)
        self._evidence = evidence or (list[Path])

    def count(self, cause: str, number: int) -> None:
        """Count something let go. The caller holds the transaction."""
        if number > 0:
            self._connection.execute(
                "INSERT INTO drops VALUES (?, ?, ?) ON CONFLICT (cause) DO UPDATE SET total = total + excluded.total,"
                " untold = untold + excluded.untold",
                (cause, number, number),
            )

    def tell(self) -> str:
        """Return what was let go since the last time, for a summary's note, and note it as told. "" for nothing."""
        rows = self._connection.execute("SELECT cause, untold FROM drops WHERE untold > 0 ORDER BY cause").fetchall()
        if not rows:
            return ""
        self._connection.execute("UPDATE drops SET untold = 0 WHERE untold > 0")
        return "let go for room: " + ", ".join(f"{number} {cause}" for cause, number in rows)

    def make_room(self) -> list[str]:
        """Delete what is over the budget; return the images whose files go once this is committed (`Samples.remove`)."""
        self.count("result rows (acknowledged)", forget_old(self._connection, keep_rows=self._keep_rows))
        self._shrink_database()
        for outcome, number in self._outbox.take_merges().items():
            self.count(f"windows ({outcome})", number)
        limit = self._shares.samples_bytes
        free = self._free_bytes()
        if free < _LEAVE_FREE_BYTES:
            limit = min(limit, max(0, self._samples.used_bytes() - (_LEAVE_FREE_BYTES - free)))
        gone = self._samples.evict_by_value(max_bytes=limit)
        for why in sorted({why for _, why in gone}):
            self.count(f"images ({why})", sum(why == other for _, other in gone))
        return [name for name, _ in gone]

    def shed(self) -> int:
        """Free what can be freed without writing to a database that has no room; return the bytes."""
        freed = self._drop_evidence()
        return freed or self._samples.shed(_SHED_BYTES)

    def _shrink_database(self) -> None:
        over = self._over_bytes()
        if over > 0:
            self._drop_evidence()
            over = self._over_bytes()
        if over <= 0:
            return
        over -= self._forget_rows(
            over, "acknowledged", lambda most: forget_old(self._connection, keep_rows=0, at_most=most)
        )
        over -= self._forget_rows(over, "counted, not acknowledged", lambda most: forget_closed(self._connection, most))
        if over > 0:
            self._outbox.shrink(over)

    def _forget_rows(self, over: int, which: str, forget: Callable[[int], int]) -> int:
        """Delete rows until `over` bytes of pages are free or there are no more; return the bytes freed."""
        before = self._over_bytes()
        left, deleted = over, 0
        while left > 0 and (gone := forget(min(left // _ROW_BYTES + _LEAST_ROWS, _MOST_ROWS))):
            deleted += gone
            left = over - (before - self._over_bytes())
        self.count(f"result rows ({which})", deleted)
        return before - self._over_bytes()

    def _over_bytes(self) -> int:
        """Return how far the database is above nine tenths of its share: the rest is for what comes until the next window."""
        pages, free, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size + self._evidence_bytes() - int(self._shares.database_bytes * 0.9)

    def _evidence_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._evidence() if path.exists())

    def _drop_evidence(self) -> int:
        freed = self._evidence_bytes()
        for path in self._evidence():
            path.unlink(missing_ok=True)
        return freed
