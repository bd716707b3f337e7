"""A dead letter tried again: what an older version could not read, a newer one can."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cloud.ingest_sort import sort_arrivals
from cloud.ports.batch import Commit
from cloud.ports.link import Arrival
from contract.errors import TransientError

# What versions kept of a payload: a letter of exactly so many bytes that cannot be read was cut.
_CUT_AT = (4_096, 262_144)


class ReplayEnd(str, Enum):
    """What became of it."""

    STORED = "stored"
    DUPLICATE = "was stored already"
    CONFLICT = "conflicts with what is stored"
    DEAD = "still dead"

    @property
    def settled(self) -> bool:
        """Whether the letter has done its duty and can go."""
        return self in (ReplayEnd.STORED, ReplayEnd.DUPLICATE)


@dataclass(frozen=True, slots=True)
class Replayed:
    """How a replay ended, and why it did not end well."""

    end: ReplayEnd
    why: str = ""


def replay(topic: str, payload: bytes, commit: Commit, now: float) -> Replayed:
    """Sort and commit one dead letter as if it came now. Doing it again changes nothing (P1).

    Only summaries and answers to commands: births, Wills and reports of old would be taken for news, and each station's last one
    is retained at the broker anyway.

    Raises:
        TransientError: the database did not take it now.
    """
    batch = sort_arrivals([Arrival(topic, payload, lambda: None)], now)
    if batch.dead:
        cut = len(payload) in _CUT_AT
        return Replayed(ReplayEnd.DEAD, "it was cut when it was stored" if cut else batch.dead[0][1])
    if batch.states or batch.reports:
        return Replayed(ReplayEnd.DEAD, "it is a station's state of then, and newer ones have come: drop it")
    try:
        outcome = commit(batch, now)
    except TransientError:
        raise
    except Exception as error:  # noqa: BLE001 - a letter may be dead for what it does to the database
        return Replayed(ReplayEnd.DEAD, f"it cannot be stored: {type(error).__name__}: {error}"[:500])
    if outcome.conflicts:
        return Replayed(ReplayEnd.CONFLICT, "its station has sent it again under another boot, or another device did")
    stored = outcome.new or batch.results
    return Replayed(ReplayEnd.STORED if stored else ReplayEnd.DUPLICATE)
