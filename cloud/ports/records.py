"""Logs that the loops read from or write to."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from contract.messages import Command


class Cursor(NamedTuple):
    """How far the log of summaries was read: opaque but for its order and for `position`.

    `tx`, `row`: the last row read and the transaction that wrote it (0 on SQLite). Ids are drawn before their transaction is
    committed, so a higher one may be visible first. `position`: how many rows had been read, with this one: it only ever grows.
    """

    tx: int = 0
    row: int = 0
    position: int = 0


class SummaryLog(Protocol):
    """Every summary, in an order that never changes once it was read."""

    def after(self, cursor: Cursor, limit: int) -> list[tuple[Cursor, bytes]]:
        """Return up to `limit` (cursor, payload) after `cursor`."""


class CommandLog(Protocol):
    """Every command sent to a station."""

    def sent(self, command: Command, now: float) -> None:
        """Record a command before it is sent."""


class AuditLog(Protocol):
    """Who did what."""

    def append(self, at: float, actor: str, act: str, detail: str) -> None:
        """Append an entry."""
