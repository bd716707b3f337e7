"""The connection to the broker, driven by one thread."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from contract.topics import Channel

ANY_SIZE = 1 << 28
"""MQTT's own limit of a packet, about: no smaller one was asked for."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message for this station."""

    channel: Channel
    payload: bytes


@dataclass(frozen=True, slots=True)
class Room:
    """How many more QoS 1 messages may be in flight now, of how many at most, and how large a payload may be."""

    free: int
    most: int = 20
    largest_bytes: int = ANY_SIZE


class Trouble(str, Enum):
    """Why the last connection ended, or was not made, where that matters to who tries again."""

    NONE = ""
    TAKEN_OVER = "another device uses this station's name"
    """MQTT 5, reason 0x8E: whoever comes back at once throws the other out, and so on for ever."""
    REFUSED = "the broker does not let this station in"


class Link(Protocol):
    """One connection at a time; nothing is queued while it is down."""

    def connect(self, within_s: float) -> None:
        """Connect, subscribe to this station's `dn/#` channels.

        Raises:
            LinkDown: the broker was not reached, or refused.
        """

    def connected(self) -> bool:
        """Return whether the connection is up as far as this side knows."""

    def trouble(self) -> Trouble:
        """Return why the last connection ended or was refused."""

    def room(self) -> Room:
        """Return what the link takes now."""

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
