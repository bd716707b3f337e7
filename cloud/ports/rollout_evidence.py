"""What stations' summaries say of a rollout, as the watch reads it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloud.ports.records import Cursor


@dataclass(frozen=True, slots=True)
class WindowRow:
    """A stored summary without its payload: `row` names it; frames `passed` and `rejected` of `decided`."""

    cursor: Cursor
    row: int
    station: str
    bundle: str
    started_at: float
    ended_at: float
    passed: int
    rejected: int
    decided: int


@dataclass(frozen=True, slots=True)
class SpotCounts:
    """Frames drawn at random: how many are `labelled`, how many of those the model had `right`, and on how many others people
    disagree."""

    labelled: int = 0
    right: int = 0
    disputed: int = 0


class EvidenceSource(Protocol):
    """Summaries and labels, by station."""

    def begin(self, at: float) -> Cursor:
        """Return where to read from to see every summary that is filed at `at` or later, and maybe some before it."""

    def rows(self, cursor: Cursor, limit: int) -> Sequence[WindowRow]:
        """Return up to `limit` summaries after `cursor`, in an order in which nothing ever appears before what was read."""

    def latencies(self, rows: Collection[int]) -> Mapping[int, tuple[float, int]]:
        """Return (mean us a frame, frames) of the summaries named that tell; it decodes their payloads."""

    def labelled(self, since: float) -> Mapping[tuple[str, str], SpotCounts]:
        """Return by (station, bundle) what people say of the frames drawn at random since then."""
