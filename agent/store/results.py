"""Every frame's verdict, kept within a budget of rows; daily totals are kept for ever."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

from agent.ports.recorder import Result
from contract.messages import Accounting, Verdict

_DAY_S = 86_400


def add_results(connection: sqlite3.Connection, results: Sequence[Result]) -> range:
    """Insert `results`, count them into their days' totals, and return their ids. The caller holds the transaction."""
    connection.executemany(
        "INSERT INTO results (window, captured_at, part, verdict, cause, label, confidence, latency_ms, bundle, asked_cloud,"
        " cloud_answer) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (r.window, r.captured_at, r.part, r.verdict, r.cause, r.label, r.confidence, r.latency_ms, r.bundle, r.asked_cloud,
             r.cloud_answer)
            for r in results
        ],
    )  # fmt: skip
    (last,) = connection.execute("SELECT last_insert_rowid()").fetchone()
    days: Counter[tuple[int, str]] = Counter((int(r.captured_at // _DAY_S), r.verdict) for r in results)
    for day in sorted({day for day, _ in days}):
        passed, rejected = days[day, Verdict.PASS.value], days[day, Verdict.REJECT.value]
        review = days[day, Verdict.REVIEW.value]
        connection.execute(
            "INSERT INTO totals VALUES (?, ?, ?, ?, ?) ON CONFLICT (day) DO UPDATE SET captured = captured + excluded.captured,"
            " passed = passed + excluded.passed, rejected = rejected + excluded.rejected, review = review + excluded.review",
            (day, passed + rejected + review, passed, rejected, review),
        )
    # AUTOINCREMENT within one transaction of the only writer of rows: each id is one above the last.
    return range(last - len(results) + 1, last + 1)


def count_window(connection: sqlite3.Connection, window: int) -> Accounting:
    """Return the accounting of a window from its rows alone: what a process that died can no longer say."""
    passed = rejected = asked = answers = captured = 0
    review: dict[str, int] = {}
    rows = connection.execute(
        "SELECT verdict, cause, COUNT(*), SUM(asked_cloud), SUM(cloud_answer) FROM results WHERE window = ?"
        " GROUP BY verdict, cause",
        (window,),
    )
    for verdict, cause, n, n_asked, n_answers in rows:
        captured, asked, answers = captured + n, asked + n_asked, answers + n_answers
        if verdict == Verdict.PASS.value:
            passed += n
        elif verdict == Verdict.REJECT.value:
            rejected += n
        else:
            review[cause] = review.get(cause, 0) + n
    return Accounting(captured, passed, rejected, review, asked_cloud=asked, cloud_answers=answers)


def forget_old(connection: sqlite3.Connection, *, keep_rows: int, at_most: int = 5_000) -> int:
    """Delete rows beyond the newest `keep_rows`, at most `at_most`; return how many.

    Only rows of windows the cloud has acknowledged: until then they are what a recount would be made from.
    """
    (newest,) = connection.execute("SELECT COALESCE(MAX(id), 0) FROM results").fetchone()
    (shipped_below,) = connection.execute(
        "SELECT COALESCE((SELECT MIN(window) FROM outbox),"
        " (SELECT CAST(value AS INTEGER) + 1 FROM memory WHERE name = 'closed_window'), 0)"
    ).fetchone()
    cursor = connection.execute(
        "DELETE FROM results WHERE id IN (SELECT id FROM results WHERE id <= ? AND window < ? ORDER BY id LIMIT ?)",
        (newest - keep_rows, shipped_below, at_most),
    )
    return cursor.rowcount


def forget_closed(connection: sqlite3.Connection, at_most: int) -> int:
    """Delete the oldest `at_most` rows of closed windows, acknowledged or not; return how many.

    Their counts are in the outbox; what is lost is which part was which.
    """
    cursor = connection.execute(
        "DELETE FROM results WHERE id IN (SELECT id FROM results WHERE window <= (SELECT COALESCE((SELECT"
        " CAST(value AS INTEGER) FROM memory WHERE name = 'closed_window'), 0)) ORDER BY id LIMIT ?)",
        (at_most,),
    )
    return cursor.rowcount
