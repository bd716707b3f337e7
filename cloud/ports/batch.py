"""A run of messages on its way into the database, and what became of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from contract.messages import CommandResult, ReportedState, StationState, Summary


class Named(NamedTuple):
    """Which summary, and which content of those that two devices may have under one name: the CRC-32 of its payload."""

    station: str
    boot: str
    seq: int
    crc: int


@dataclass(slots=True)
class Batch:
    """What a run of arrivals says, in order."""

    summaries: list[tuple[Summary, bytes]] = field(default_factory=list)
    states: list[StationState] = field(default_factory=list)
    reports: list[ReportedState] = field(default_factory=list)
    results: list[CommandResult] = field(default_factory=list)
    # (topic, reason, payload)
    dead: list[tuple[str, str, bytes]] = field(default_factory=list)
    # Dead letters whose sender and sequence are known: acknowledged, or the station would send them for ever.
    refused: list[Named] = field(default_factory=list)

    def keys(self) -> list[Named]:
        """Return what to acknowledge once the batch is committed, conflicts aside."""
        return [named(summary, payload) for summary, payload in self.summaries] + self.refused


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a committed batch changed.

    `new` summaries were stored; `conflicts` were not, since other content has their (station, boot, seq) already, of the same
    batch maybe; the boots in `renew`, as (station, boot), belong to stations that were restored or cloned.
    """

    new: int = 0
    conflicts: tuple[Named, ...] = ()
    renew: tuple[tuple[str, str], ...] = ()


Commit = Callable[[Batch, float], Outcome]
"""Store a batch in one transaction, at `now` by the cloud's clock; doing it again changes nothing (P1).

Raises:
    TransientError: the database did not take it now; nothing was stored.
"""


def named(summary: Summary, payload: bytes) -> Named:
    """Return which summary this is; `payload` is what it was decoded from."""
    return Named(summary.header.station, summary.header.boot, summary.header.seq, zlib.crc32(payload))
