"""Several summaries as one, for lack of room: coarser, or without their sketches. Each says which sequences it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import msgspec

from agent.decide import covers
from agent.decide.accounting import add_up
from agent.decide.covers import Ranges
from agent.decide.opinions import add_up_opinions
from contract.errors import BadMessage, SketchMismatch
from contract.messages import GapNote, Summary
from contract.sketches.window import merge
from contract.sketches.wire import from_wire, to_wire

# Drift is judged hour by hour at the coarsest; beyond that a window says too little about when.
_COARSEST_S = 3600.0
_GAP = "gap: summaries "
_MERGED = "merged: summaries "
NO_ROOM = "merged for lack of room"
TOO_LARGE = "larger than the broker takes"


def coarser(first: Summary, second: Summary) -> Summary | None:
    """Return one summary of the frames of both, or None where they cannot be one without losing something."""
    old, new = first.header, second.header
    if first.window is None or second.window is None or (old.bundle, old.camera) != (new.bundle, new.camera):
        return None
    # abs: the clock was set back between the two.
    if abs(new.ended_at - old.started_at) > _COARSEST_S or first.window.identity != second.window.identity:
        return None
    try:
        window = to_wire(merge(from_wire(first.window), from_wire(second.window)))
    except (BadMessage, SketchMismatch):
        return None
    told = "; ".join(dict.fromkeys(filter(None, (_beyond_merge(first.note), _beyond_merge(second.note)))))
    return Summary(
        header=msgspec.structs.replace(
            new,
            started_at=min(old.started_at, new.started_at),
            clock_synced=old.clock_synced and new.clock_synced,
        ),
        accounting=add_up((first.accounting, second.accounting)),
        window=window,
        samples=(*first.samples, *second.samples),
        shadow=second.shadow or first.shadow,
        simulated=first.simulated or second.simulated,
        note=f"{_MERGED}{_first_seq(first)}-{new.seq} in one window for lack of room" + (f"; {told}" if told else ""),
        opinions=add_up_opinions(first.opinions, second.opinions),
        covers=_covered((first, second)),
        health=second.health or first.health,
        trace=second.trace or first.trace,
    )


def gap_record(summaries: Sequence[Summary]) -> Summary:
    """Return one summary of the counts of all, of one camera and in order, without their sketches."""
    last = summaries[-1].header
    whose = f" of camera {last.camera}" if last.camera else ""
    return Summary(
        header=msgspec.structs.replace(
            last,
            started_at=min(s.header.started_at for s in summaries),
            clock_synced=all(s.header.clock_synced for s in summaries),
        ),
        accounting=add_up(s.accounting for s in summaries),
        simulated=any(s.simulated for s in summaries),
        note=f"{_GAP}{_first_seq(summaries[0])}-{last.seq}{whose} merged for lack of room; their sketches are lost",
        opinions=reduce(add_up_opinions, (s.opinions for s in summaries)),
        covers=_covered(summaries),
        gap=GapNote(sum(map(windows_of, summaries)), NO_ROOM),
        health=summaries[-1].health,
    )


def without_sketches(summary: Summary, why: str) -> Summary:
    """Return what is left of a summary that cannot be sent whole: its counts, as a gap record of its own."""
    return msgspec.structs.replace(
        summary,
        window=None,
        samples=(),
        shadow=None,
        note=f"gap: sketches and notes left out, {why}; {summary.note}"[:200],
        gap=GapNote(windows_of(summary), why),
    )


def windows_of(summary: Summary) -> int:
    """Return how many windows a summary stands for."""
    return summary.gap.windows if summary.gap is not None else 1 + covers.count(summary.covers)


def _covered(summaries: Sequence[Summary]) -> Ranges:
    names = [(s.header.seq, s.header.seq) for s in summaries[:-1]]
    return covers.join([*names, *(each for s in summaries for each in s.covers)])


def _beyond_merge(note: str) -> str:
    return (note.partition("; ")[2] if note.startswith(_MERGED) else note)[:400]


def _first_seq(summary: Summary) -> int:
    # A record merged again keeps the start of its range.
    return min([summary.header.seq, *(first for first, _ in summary.covers)])
