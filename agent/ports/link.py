"""The connection to the broker, driven by one thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from contract.topics import Channel


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message for this station."""

    channel: Channel
    payload: bytes


class Link(Protocol):
    """One connection at a time; nothing is queued while it is down."""

    def connect(self, within_s: float) -> None:
        """Connect, subscribe to this station's `dn/#` channels.

        Raises:
            LinkDown: the broker was not reached, or refused.
        """

    def connected(self) -> bool:
        """Return whether the connection is up as far as this side knows."""

    def room(self) -> int:
        """Return how many more QoS 1 messages may be in flight now."""

    def publish(self, channel: Channel, payload: bytes, *, retain: bool = False) -> None:
        """Send on this station's `channel` at QoS 1.

        Raises:
            LinkDown: the connection is not up.
        """

    def poll(self, within_s: float) -> list[Incoming]:
        """Do the network's work for at most `within_s`; return what arrived.

        Raises:
            LinkDown: the connection was lost.
        """

    def close(self, within_s: float) -> None:
        """Wait at most `within_s` for messages in flight, then disconnect cleanly (no Will)."""
