"""Logs that the loops read from or write to."""

from __future__ import annotations

from typing import Protocol

from contract.messages import Command


class SummaryLog(Protocol):
    """Every summary, in the order it was committed."""

    def after(self, cursor: int, limit: int) -> list[tuple[int, bytes]]:
        """Return up to `limit` (row id, payload) with ids above `cursor`."""


class CommandLog(Protocol):
    """Every command sent to a station."""

    def sent(self, command: Command, now: float) -> None:
        """Record a command before it is sent."""


class AuditLog(Protocol):
    """Who did what."""

    def append(self, at: float, actor: str, act: str, detail: str) -> None:
        """Append an entry."""
