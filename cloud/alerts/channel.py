"""A way to reach people."""

from __future__ import annotations

from typing import Protocol


class Channel(Protocol):
    """`send` may take seconds: each channel has a thread of its own."""

    @property
    def name(self) -> str:
        """Return what cloud.toml calls it; "mqtt" for the broker."""

    def send(self, body: str) -> None:
        """Hand one message over.

        Raises:
            TransientError: it was not taken now; it is tried again.
            RefusedError: it will never be taken.
        """

    def close(self) -> None:
        """Let go of what it holds."""
