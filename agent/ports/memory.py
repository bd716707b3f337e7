"""Small durable facts."""

from __future__ import annotations

from typing import Protocol


class Memory(Protocol):
    """Facts by name; thread-safe."""

    def get(self, name: str) -> str | None:
        """Return the fact, or None."""

    def put(self, name: str, value: str) -> None:
        """Store the fact durably.

        Raises:
            TransientError: the disk refused.
        """
