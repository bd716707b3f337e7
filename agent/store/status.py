"""What a station's database says of it, read while it runs."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """Totals over the station's life; what waits in the outbox; when the cloud last acknowledged (Unix seconds, 0: never)."""

    boot: str
    captured: int
    passed: int
    rejected: int
    review: int
    review_causes: dict[str, int]
    windows: int
    outbox: int
    outbox_bytes: int
    acked_at: float
    samples: int
    samples_bytes: int
    reference: str


def read_status(connection: sqlite3.Connection) -> StoreStatus:
    """Return the status in a station's database. `review_causes` counts the rows still kept."""
    facts = {
        str(name): str(value)
        for name, value in connection.execute(
            "SELECT name, value FROM memory WHERE name IN ('boot', 'closed_window', 'acked_at', 'reference')"
        )
    }
    captured, passed, rejected, review = connection.execute(
        "SELECT COALESCE(SUM(captured), 0), COALESCE(SUM(passed), 0), COALESCE(SUM(rejected), 0), COALESCE(SUM(review), 0)"
        " FROM totals"
    ).fetchone()
    causes = connection.execute("SELECT cause, COUNT(*) FROM results WHERE cause != '' GROUP BY cause ORDER BY 2 DESC")
    outbox, outbox_bytes = connection.execute("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM outbox").fetchone()
    samples, samples_bytes = connection.execute("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM samples").fetchone()
    return StoreStatus(
        boot=facts.get("boot", ""),
        captured=captured,
        passed=passed,
        rejected=rejected,
        review=review,
        review_causes={str(cause): int(n) for cause, n in causes},
        windows=int(facts.get("closed_window", "0")),
        outbox=outbox,
        outbox_bytes=outbox_bytes,
        acked_at=float(facts.get("acked_at", "0")),
        samples=samples,
        samples_bytes=samples_bytes,
        reference=facts.get("reference", ""),
    )
