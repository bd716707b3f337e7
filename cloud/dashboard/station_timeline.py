"""A station's timeline: all that happened to it, the newest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nicegui import ui

from cloud.dashboard.parts import Cell, Column, Kind, Page, PageRequest, Tone, ago, card, live, paged_table
from cloud.dashboard.station_charts import clock
from cloud.dashboard.visit import Visit
from cloud.store.station_history import TimelineEntry

_ROWS, _EVERY_S = 20, 5.0
_COMMANDS = {
    "upload_samples": "asked for images",
    "re_enrol": "told to learn its normal anew",
    "drift": "told whether its thresholds hold",
}
_TONES = {"alarm": Tone.BAD, "gap": Tone.WARN, "rollout": Tone.INFO, "retrain": Tone.INFO, "command": Tone.PLAIN}


def timeline(
    visit: Visit, read: Callable[[int, int], tuple[Sequence[TimelineEntry], int]], now: Callable[[], float]
) -> None:
    """Show it; `read(start, limit)` gives entries and how many there are in all."""

    def page(asked: PageRequest) -> Page:
        entries, total = read(asked.start, asked.limit)
        return Page([row_of(entry, now()) for entry in entries], total)

    with card("What happened"):
        trouble = ui.column().classes("w-full")
        table = paged_table(
            "timeline",
            (
                Column("when", "When (UTC)"),
                Column("ago", ""),
                Column("kind", "What", Kind.BADGE),
                Column("what", "In words"),
                Column("detail", "Detail"),
            ),
            title="What happened to the station",
            nothing="Nothing has happened to it yet.",
            page_rows=_ROWS,
            read=page,
        )
        with trouble:
            live(visit, table.read_now, table.show, _EVERY_S, what="The timeline")


def row_of(entry: TimelineEntry, now: float) -> dict[str, Cell]:
    """Return an entry as the table's row."""
    detail = entry.detail
    if entry.kind == "alarm":
        detail = "open" if entry.ended_at is None else f"closed {ago(now, entry.ended_at)}: {entry.detail}"
    elif entry.kind == "gap":
        detail = f"{entry.detail} windows given up"
    return {
        "when": clock(entry.at),
        "ago": ago(now, entry.at),
        "kind": (entry.kind, _TONES.get(entry.kind, Tone.PLAIN).value),
        "what": _COMMANDS.get(entry.what, entry.what) if entry.kind == "command" else entry.what,
        "detail": detail,
    }
