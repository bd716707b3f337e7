"""The broker, as the loops see it."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
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


def put_arrivals(arrivals: queue.Queue[Arrival], new: Sequence[Arrival]) -> None:
    """Append all of `new` at once: whoever waits is woken once. Never blocks; the broker's receive maximum is the bound."""
    with arrivals.mutex:
        arrivals.queue.extend(new)
        arrivals.not_empty.notify()


def take_arrivals(arrivals: queue.Queue[Arrival], most: int, within_s: float) -> list[Arrival]:
    """Return up to `most` arrivals, all that are there; none when nothing comes within `within_s`."""
    try:
        taken = [arrivals.get(timeout=within_s)]
    except queue.Empty:
        return []
    with arrivals.mutex:
        waiting = arrivals.queue
        taken += [waiting.popleft() for _ in range(min(most - 1, len(waiting)))]
        arrivals.not_full.notify_all()
    return taken
