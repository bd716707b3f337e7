"""What a process that died left open: its frames are counted from their rows, so that every one is accounted for (P1)."""

from __future__ import annotations

import sqlite3

from agent.store.database import transaction
from agent.store.memory import put_fact
from agent.store.outbox import Outbox
from agent.store.results import count_window
from agent.store.samples import Samples
from contract.messages import Header, Summary

RECOVERED = "recovered after a crash"


def last_closed_window(connection: sqlite3.Connection) -> int:
    """Return the number of the last window that was closed, 0 for none."""
    row = connection.execute("SELECT value FROM memory WHERE name = 'closed_window'").fetchone()
    return int(row[0]) if row else 0


def set_last_closed_window(connection: sqlite3.Connection, window: int) -> None:
    """Note that `window` is closed. The caller holds the transaction."""
    put_fact(connection, "closed_window", str(window))


def recover(
    connection: sqlite3.Connection,
    outbox: Outbox,
    samples: Samples,
    *,
    station: str,
    monotonic_s: float,
    simulated: bool,
) -> int:
    """Ship a summary for every window with rows that was never closed; return how many. Call before recording starts."""
    with transaction(connection):
        closed = last_closed_window(connection)
        rows = connection.execute(
            "SELECT window, MIN(captured_at), MAX(captured_at), MAX(bundle) FROM results WHERE window > ?"
            " GROUP BY window ORDER BY window",
            (closed,),
        ).fetchall()
        for window, started_at, ended_at, bundle in rows:
            header = Header(station, outbox.boot, 0, started_at, ended_at, monotonic_s, False, bundle)
            summary = Summary(
                header=header,
                accounting=count_window(connection, window),
                samples=samples.notes_of(window),
                simulated=simulated,
                note=RECOVERED,
            )
            outbox.add(summary, window)
            set_last_closed_window(connection, window)
    samples.sweep()
    return len(rows)
