"""Every frame's verdict, kept within a budget of rows; daily totals are kept for ever."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

from agent.ports.recorder import Result
from agent.store.memory import facts_by_camera
from contract.messages import Accounting, Verdict

_DAY_S = 86_400


def add_results(connection: sqlite3.Connection, results: Sequence[Result]) -> range:
    """Insert `results`, count them into their days' totals, and return their ids. The caller holds the transaction."""
    connection.executemany(
        "INSERT INTO results (window, captured_at, part, verdict, cause, label, confidence, latency_ms, bundle, asked_cloud,"
        " cloud_answer, camera) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (r.window, r.captured_at, r.part, r.verdict, r.cause, r.label, r.confidence, r.latency_ms, r.bundle, r.asked_cloud,
             r.cloud_answer, r.camera)
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


def count_window(connection: sqlite3.Connection, camera: str, window: int) -> Accounting:
    """Return the accounting of a camera's window from its rows alone: what a process that died can no longer say."""
    passed = rejected = asked = answers = captured = 0
    review: dict[str, int] = {}
    rows = connection.execute(
        "SELECT verdict, cause, COUNT(*), SUM(asked_cloud), SUM(cloud_answer) FROM results"
        " WHERE camera = ? AND window = ? GROUP BY verdict, cause",
        (camera, window),
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


def cameras_of(connection: sqlite3.Connection) -> list[str]:
    """Return the cameras that have rows, by name; a few steps down the index each, however many rows there are."""
    rows = connection.execute(
        "WITH RECURSIVE found (camera) AS (SELECT MIN(camera) FROM results UNION ALL"
        " SELECT (SELECT MIN(camera) FROM results WHERE results.camera > found.camera) FROM found"
        " WHERE found.camera IS NOT NULL) SELECT camera FROM found WHERE camera IS NOT NULL"
    )
    return [str(row[0]) for row in rows]


def forget_old(connection: sqlite3.Connection, *, keep_rows: int, at_most: int = 5_000) -> int:
    """Delete rows beyond the newest `keep_rows`, at most `at_most`; return how many.

    Only rows of windows the cloud has acknowledged: until then they are what a recount would be made from.
    """
    (newest,) = connection.execute("SELECT COALESCE(MAX(id), 0) FROM results").fetchone()
    below = {camera: closed + 1 for camera, closed in closed_windows(connection).items()}
    waiting = connection.execute("SELECT camera, MIN(window) FROM outbox GROUP BY camera")
    below |= {str(camera): int(window) for camera, window in waiting}
    return _delete_oldest(connection, below, newest - keep_rows, at_most)


def forget_closed(connection: sqlite3.Connection, at_most: int) -> int:
    """Delete the oldest `at_most` rows of closed windows, acknowledged or not; return how many.

    Their counts are in the outbox; what is lost is which part was which.
    """
    (newest,) = connection.execute("SELECT COALESCE(MAX(id), 0) FROM results").fetchone()
    below = {camera: closed + 1 for camera, closed in closed_windows(connection).items()}
    return _delete_oldest(connection, below, newest, at_most)


def closed_windows(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the number of the last window that was closed, of each camera that closed one."""
    return {camera: int(value) for camera, value in facts_by_camera(connection, "closed_window").items()}


def _delete_oldest(connection: sqlite3.Connection, below: dict[str, int], last_id: int, at_most: int) -> int:
    """Delete the oldest rows, up to `last_id`, whose window is below their camera's; return how many."""
    if not below:
        return 0
    # In order of rows, not by the index over windows: `+` keeps the planner from sorting a million rows to delete a few.
    done = " OR ".join("+camera = ? AND window < ?" for _ in below)
    cursor = connection.execute(
        f"DELETE FROM results WHERE id IN (SELECT id FROM results WHERE id <= ? AND ({done}) ORDER BY id LIMIT ?)",
        (last_id, *(value for pair in below.items() for value in pair), at_most),
    )
    return cursor.rowcount
