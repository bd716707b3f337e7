"""What a process that died left open: its frames are counted from their rows, so that every one is accounted for (P1)."""

from __future__ import annotations

import sqlite3

import msgspec

from agent.store.database import transaction
from agent.store.memory import put_fact
from agent.store.outbox import Outbox
from agent.store.quarantine import Quarantined
from agent.store.results import count_window
from agent.store.running_mark import LeftBehind
from agent.store.samples import Samples
from contract.messages import Accounting, Header, Summary

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
    left: LeftBehind | None = None,
) -> int:
    """Ship a summary for every window that was never closed; return how many. Call before recording starts.

    `left` says how many frames each of them had seen: those without a row are told as undecided.
    """
    counted = left.windows if left is not None and left.unclean and left.boot == outbox.boot else {}
    with transaction(connection):
        closed = last_closed_window(connection)
        rows = {
            int(window): (started_at, ended_at, bundle)
            for window, started_at, ended_at, bundle in connection.execute(
                "SELECT window, MIN(captured_at), MAX(captured_at), MAX(bundle) FROM results WHERE window > ?"
                " GROUP BY window",
                (closed,),
            )
        }
        windows = sorted(rows.keys() | {window for window in counted if window > closed})
        for window in windows:
            seen = counted.get(window)
            started_at, ended_at, bundle = (
                rows.get(window) or (seen.started_at, seen.started_at, "") if seen else rows[window]
            )
            accounting = count_window(connection, window)
            lost = max(0, seen.frames - accounting.captured) if seen else 0
            header = Header(station, outbox.boot, 0, started_at, ended_at, monotonic_s, False, bundle)
            summary = Summary(
                header=header,
                accounting=msgspec.structs.replace(
                    accounting, captured=accounting.captured + lost, undecided=accounting.undecided + lost
                ),
                samples=samples.notes_of(window),
                simulated=simulated,
                note=_note(lost, left),
            )
            outbox.add(summary, window)
            set_last_closed_window(connection, window)
    samples.sweep()
    return len(windows)


def tell_of_quarantine(
    connection: sqlite3.Connection,
    outbox: Outbox,
    lost: Quarantined,
    *,
    station: str,
    now: float,
    monotonic_s: float,
    simulated: bool,
    left: LeftBehind,
) -> str:
    """Ship a gap record, the first summary of the new boot, that says what went with a corrupt database; return its note.

    Frames of windows that were open count as undecided: their rows, if any, are in the file that was moved aside.
    """
    frames = sum(window.frames for window in left.windows.values()) if left.unclean else 0
    unshipped = "an unknown number of" if left.outbox is None else f"up to {left.outbox}"
    where = f"quarantined as {lost.kept_as}" if lost.kept_as else "quarantined, and deleted for lack of room"
    note = (
        f"gap: database was corrupt, {where}; {unshipped} unshipped summaries are unknown, and the kept images are lost"
        f" ({lost.problem})"
    )
    header = Header(station, outbox.boot, 0, now, now, monotonic_s, False, "")
    with transaction(connection):
        for name, value in lost.facts.items():
            put_fact(connection, name, value)
        outbox.add(
            Summary(
                header=header,
                accounting=Accounting(captured=frames, undecided=frames),
                simulated=simulated,
                note=note[:600],
            ),
            0,
        )
    return note


def _note(lost: int, left: LeftBehind | None) -> str:
    if left is None or not left.unclean:
        return RECOVERED
    told = f"{RECOVERED}: {lost} frame(s) judged last were never stored" if lost else RECOVERED
    # The count lives in the page cache: a power cut takes what the kernel had not written of it.
    return told if left.exact else f"{told}; the machine went down too, so the last frames before that are not counted"
