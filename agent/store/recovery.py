"""What a process that died left open: its frames are counted from their rows, so that every one is accounted for (P1)."""

from __future__ import annotations

import operator
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import reduce

import msgspec

from agent.store.boots import earlier_boots
from agent.store.database import transaction
from agent.store.memory import fact_of, put_fact
from agent.store.outbox import Outbox
from agent.store.quarantine import Quarantined
from agent.store.results import cameras_of, count_window
from agent.store.running_mark import LeftBehind, OpenCount
from agent.store.samples import Samples
from contract.messages import Accounting, GapNote, Header, Summary

RECOVERED = "recovered after a crash"
CORRUPT = "the database was corrupt"


def last_closed_window(connection: sqlite3.Connection, camera: str = "") -> int:
    """Return the number of the last window of `camera` that was closed, 0 for none."""
    name = fact_of("closed_window", camera)
    row = connection.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def set_last_closed_window(connection: sqlite3.Connection, window: int, camera: str = "") -> None:
    """Note that `window` of `camera` is closed. The caller holds the transaction."""
    put_fact(connection, fact_of("closed_window", camera), str(window))


def recover(
    connection: sqlite3.Connection,
    outbox: Outbox,
    samples: Samples,
    *,
    station: str,
    monotonic_s: float,
    simulated: bool,
    left: Mapping[str, LeftBehind] | None = None,
) -> int:
    """Ship a summary for every window of every camera that was never closed; return how many. Call before recording starts.

    `left` says, by camera, how many frames each of them had seen, and how many were dropped: those seen and without a row are
    told as undecided. A camera that the
    station has no more is recovered like the others.
    """
    left = left or {}
    recovered = 0
    # The boot may have been renewed while the process ran that left the marks.
    own = {outbox.boot, *earlier_boots(connection)}
    with transaction(connection):
        for camera in sorted({*cameras_of(connection), *left}):
            mark = left.get(camera)
            counted = mark.windows if mark is not None and mark.unclean and mark.boot in own else {}
            for window in _open_windows(connection, camera, counted):
                summary = _recount(connection, camera, window, counted.get(window))
                header = msgspec.structs.replace(
                    summary.header, station=station, boot=outbox.boot, monotonic_s=monotonic_s
                )
                summary = msgspec.structs.replace(
                    summary,
                    header=header,
                    samples=samples.notes_of(camera, window),
                    simulated=simulated,
                    note=_note(summary.accounting.undecided, mark),
                    gap=GapNote(1, RECOVERED),
                )
                outbox.add(summary, window)
                set_last_closed_window(connection, window, camera)
                recovered += 1
    samples.sweep()
    return recovered


def _open_windows(connection: sqlite3.Connection, camera: str, counted: Iterable[int]) -> list[int]:
    closed = last_closed_window(connection, camera)
    rows = connection.execute("SELECT DISTINCT window FROM results WHERE camera = ? AND window > ?", (camera, closed))
    return sorted({int(row[0]) for row in rows} | {window for window in counted if window > closed})


def _recount(connection: sqlite3.Connection, camera: str, window: int, seen: OpenCount | None) -> Summary:
    """Return what the rows of a window, and the count of its frames where there is one, say of it."""
    started_at, ended_at, bundle = connection.execute(
        "SELECT MIN(captured_at), MAX(captured_at), MAX(bundle) FROM results WHERE camera = ? AND window = ?",
        (camera, window),
    ).fetchone()
    if started_at is None:  # not one of its frames was stored
        started_at, ended_at, bundle = (seen.started_at, seen.started_at, "") if seen else (0.0, 0.0, "")
    accounting = count_window(connection, camera, window)
    lost = max(0, seen.frames - accounting.captured) if seen else 0
    dropped = dict(seen.dropped) if seen else {}
    return Summary(
        header=Header("", "", 0, started_at, ended_at, 0.0, False, bundle, camera=camera),
        accounting=msgspec.structs.replace(
            accounting,
            captured=accounting.captured + lost + sum(dropped.values()),
            dropped=dropped,
            undecided=accounting.undecided + lost,
        ),
    )


def tell_of_quarantine(
    connection: sqlite3.Connection,
    outbox: Outbox,
    lost: Quarantined,
    *,
    station: str,
    now: float,
    monotonic_s: float,
    simulated: bool,
    left: Mapping[str, LeftBehind],
) -> str:
    """Ship a gap record, the first summary of the new boot, that says what went with a corrupt database; return its note.

    Frames of windows that were open count as undecided, each camera's in a record of its own: their rows, if any, are in the
    file that was moved aside.
    """
    frames: dict[str, int] = {}
    dropped: dict[str, Counter[str]] = {}
    for camera, mark in left.items():
        if mark.unclean:
            frames[camera] = sum(window.frames for window in mark.windows.values())
            dropped[camera] = reduce(
                operator.add, (Counter(window.dropped) for window in mark.windows.values()), Counter()
            )
    known = [mark.outbox for mark in left.values() if mark.outbox is not None]
    unshipped = f"up to {max(known)}" if known else "an unknown number of"
    where = f"quarantined as {lost.kept_as}" if lost.kept_as else "quarantined, and deleted for lack of room"
    note = (
        f"gap: database was corrupt, {where}; {unshipped} unshipped summaries are unknown, and the kept images are lost"
        f" ({lost.problem})"
    )
    with transaction(connection):
        for name, value in lost.facts.items():
            put_fact(connection, name, value)
        for camera in ("", *sorted(camera for camera in frames if camera and (frames[camera] or dropped[camera]))):
            undecided, drops = frames.get(camera, 0), dict(dropped.get(camera, {}))
            outbox.add(
                Summary(
                    header=Header(station, outbox.boot, 0, now, now, monotonic_s, False, "", camera=camera),
                    accounting=Accounting(captured=undecided + sum(drops.values()), dropped=drops, undecided=undecided),
                    simulated=simulated,
                    note=note[:600],
                    gap=GapNote(max(known, default=0) if not camera else 0, CORRUPT),
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
