"""What a station's database says of it, read while it runs."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from agent.store.memory import facts_by_camera
from agent.store.results import closed_windows


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """Totals over the station's life; what waits in the outbox; when the cloud last acknowledged (Unix seconds, 0: never).

    `windows`, `references` and `limits` are by camera, "" being the only or first one: windows closed, the enrolled reference, and
    what is kept of the limit of refusal.
    """

    boot: str
    captured: int
    passed: int
    rejected: int
    review: int
    review_causes: dict[str, int]
    windows: dict[str, int]
    outbox: int
    outbox_bytes: int
    acked_at: float
    samples: int
    samples_bytes: int
    references: dict[str, str]
    limits: dict[str, str]
    opinions: dict[str, int]
    models: str
    uplink: str
    line: str


def read_status(connection: sqlite3.Connection) -> StoreStatus:
    """Return the status in a station's database. `review_causes` and `opinions` count the rows still kept."""
    facts = {
        str(name): str(value)
        for name, value in connection.execute(
            "SELECT name, value FROM memory WHERE name IN ('boot', 'acked_at', 'models', 'uplink', 'line')"
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
        windows=closed_windows(connection),
        outbox=outbox,
        outbox_bytes=outbox_bytes,
        acked_at=float(facts.get("acked_at", "0")),
        samples=samples,
        samples_bytes=samples_bytes,
        references=facts_by_camera(connection, "reference"),
        limits=facts_by_camera(connection, "refusal_limit"),
        opinions=_opinions(connection),
        models=facts.get("models", ""),
        uplink=facts.get("uplink", ""),
        line=facts.get("line", ""),
    )


def _opinions(connection: sqlite3.Connection) -> dict[str, int]:
    # A station that was updated and not started since has no such table.
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'second_opinions'").fetchone() is None:
        return {}
    names = ("waiting", "answered", "agreed", "would_pass", "would_reject", "unsure_too", "gone")
    counts = connection.execute(
        "SELECT SUM(state = 'waiting'), SUM(state = 'answered'), SUM(agreed), SUM(verdict = 'PASS'),"
        " SUM(verdict = 'REJECT'), SUM(verdict = 'REVIEW'), SUM(state = 'gone') FROM second_opinions"
    ).fetchone()
    return {name: int(count or 0) for name, count in zip(names, counts, strict=True)}
