"""Summaries on their way to the cloud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Renamed:
    """What became of rows whose names are somebody else's: the ids of those with new names, and of those that were dropped."""

    ids: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One encoded summary. (`boot`, `seq`) is its name in acknowledgements; `id` orders rows by age, and outlives a new name."""

    id: int
    boot: str
    seq: int
    payload: bytes


class OutboxQueue(Protocol):
    """Durable; a row leaves only when the cloud says it committed it (P1)."""

    @property
    def boot(self) -> str:
        """The boot that new summaries get."""

    def ids(self, limit: int, *, above: int = 0, below: int | None = None, newest: bool = False) -> list[int]:
        """Return the ids of at most `limit` rows strictly between, ascending: the oldest of them, or the newest."""

    def take_rows(self, ids: Sequence[int], largest_bytes: int) -> list[OutboxRow]:
        """Return these rows, in this order and without those that are gone, durably marked as sent.

        From then on they may be in the cloud, so they are never merged away. What cannot be sent as it is, being damaged or above
        `largest_bytes`, comes as what can be said of it.
        """

    def acknowledge(
        self, boot: str, ranges: Sequence[tuple[int, int]], now: float, contents: Sequence[int] = ()
    ) -> list[int]:
        """Delete the sent rows in these inclusive sequence ranges of `boot`; return their ids.

        `contents`: the CRC-32 of each one's payload, one a sequence; a row with another stays. () for any content.
        """

    def rename(self, boot: str, ranges: Sequence[tuple[int, int]], contents: Sequence[int] = ()) -> Renamed:
        """Give the sent rows in these ranges new names under another boot, for theirs are somebody else's.

        `contents` as for `acknowledge`. Where `boot` is the present one, a fresh one takes its place.
        """

    def renew(self, boot: str) -> bool:
        """Begin a fresh boot where `boot` is the present one; return whether it was."""

    def troubles(self) -> list[str]:
        """Return what is to be told of rows that could not be sent as they were, once."""

    def depth(self) -> int:
        """Return the number of rows."""
