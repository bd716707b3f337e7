"""Summaries on their way to the cloud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One encoded summary. (`boot`, `seq`) is its name in acknowledgements; `id` orders rows by age."""

    id: int
    boot: str
    seq: int
    payload: bytes


class OutboxQueue(Protocol):
    """Durable; a row leaves only when the cloud says it committed it (P1)."""

    boot: str

    def take(self, limit: int, after_id: int = 0) -> list[OutboxRow]:
        """Return at most `limit` rows with an id above `after_id`, oldest first, durably marked as sent.

        From then on they may be in the cloud, so they are never merged away.
        """

    def acknowledge(self, boot: str, ranges: Sequence[tuple[int, int]], now: float) -> int:
        """Delete the rows in these inclusive sequence ranges of `boot`; return how many."""

    def depth(self) -> int:
        """Return the number of rows."""
