"""What a summary becomes in the tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from contract.messages import Summary

# Whole, so that a newer version may read what this one could not; a sender gone wild must not fill the disk.
DEAD_LETTER_BYTES = 262_144
_GAP_WHY_CHARS = 500
_DAY_S = 86_400.0
OLDEST_S, NEWEST_S = 400 * _DAY_S, _DAY_S
"""A window that began longer before, or that much after, it came was stamped by a clock that cannot be right."""


# 2026-01-01, before this version: a clock of the cloud's that says less was never set.
UNSET_BEFORE_S = 1_767_225_600.0


def filed_at(started_at: float, received_at: float) -> float:
    """Return the time a window is filed under: its start, or when it came where its station's clock cannot be right.

    A clock at 1970 must not make a partition of its own, nor have its windows dropped as old: neither a station's, nor that of
    a cloud that takes in a backlog before its own clock is set.
    """
    if received_at < UNSET_BEFORE_S <= started_at:
        return started_at
    return started_at if received_at - OLDEST_S <= started_at <= received_at + NEWEST_S else received_at


SUMMARY_COLUMNS = (
    *("station", "boot", "seq", "started_at", "ended_at", "received_at", "filed_at", "bundle"),
    *("captured", "decided", "passed", "rejected", "dropped", "undecided", "payload", "camera"),
)
"""What `summary_values` gives."""


def summary_values(summary: Summary, payload: bytes, received_at: float) -> tuple[Any, ...]:
    """Return the row of a summary, whose bytes were `payload`, in the order of `SUMMARY_COLUMNS`."""
    header, accounting = summary.header, summary.accounting
    return (
        header.station,
        header.boot,
        header.seq,
        header.started_at,
        header.ended_at,
        received_at,
        filed_at(header.started_at, received_at),
        header.bundle,
        accounting.captured,
        accounting.decided,
        accounting.passed,
        accounting.rejected,
        sum(accounting.dropped.values()),
        accounting.undecided,
        payload,
        header.camera,
    )


def sample_rows(summary: Summary) -> Iterable[dict[str, Any]]:
    """Return the rows of the kept frames that a summary tells of."""
    header = summary.header
    for note in summary.samples:
        yield {
            "sample": note.sample,
            "station": header.station,
            "captured_at": note.captured_at,
            "part": _storable(note.part),
            "label": _storable(note.label),
            "confidence": note.confidence,
            "verdict": note.verdict,
            "reason": note.reason,
            "inclusion": note.inclusion,
            "novelty": note.novelty,
            "bundle": header.bundle,
            "camera": header.camera,
        }


def gap_row(summary: Summary, verified: bool, received_at: float) -> dict[str, Any]:
    """Return the row of the gap that a summary tells of."""
    header, gap = summary.header, summary.gap
    assert gap is not None
    return {
        "station": header.station,
        "boot": header.boot,
        "seq": header.seq,
        "camera": header.camera,
        "started_at": header.started_at,
        "ended_at": header.ended_at,
        "windows": gap.windows,
        "why": _storable(gap.why)[:_GAP_WHY_CHARS],
        "verified": verified,
        "received_at": received_at,
    }


def dead_row(letter: tuple[str, str, bytes], received_at: float) -> dict[str, Any]:
    """Return the row of a dead letter (topic, reason, payload)."""
    topic, reason, payload = letter
    told = {"topic": _storable(topic), "reason": _storable(reason)}
    return {"received_at": received_at, **told, "payload": payload[:DEAD_LETTER_BYTES]}


def _storable(words: str) -> str:
    # PostgreSQL takes no NUL (a reader of codes may give one), and nobody half a UTF-16 pair. A summary's counts must not be dead
    # for a word in it, and a letter that cannot be stored has nowhere left to go.
    return words.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
