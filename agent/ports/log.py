"""What the station says to whoever reads its journal."""

from __future__ import annotations

from typing import Protocol


class Log(Protocol):
    """Plain lines; thread-safe."""

    def say(self, text: str) -> None:
        """Write one line."""

    def fault(self, key: str, text: str) -> None:
        """Write one line about a fault that may repeat; repeats under the same `key` are counted, not written."""
