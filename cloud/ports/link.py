"""The broker, as the loops see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message from a station. `done()` tells the broker that it is committed; until then the broker keeps it."""

    topic: str
    payload: bytes
    done: Callable[[], None]


class Link(Protocol):
    """Thread-safe."""

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> bool:
        """Hand a message to the broker; return whether it was taken (False: not connected, try again later)."""

    def connections(self) -> int:
        """Return how often a connection was made so far: a rise tells that the broker may have forgotten what it knew."""

    def connected(self) -> bool:
        """Return whether the broker is reached right now."""
