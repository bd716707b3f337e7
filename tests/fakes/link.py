"""A broker that remembers what it was given."""

from __future__ import annotations

from contract.codec import decode_control
from contract.messages import Ack, Command, DesiredState
from contract.topics import Channel, parse_topic


class RecordingLink:
    """`cloud.ports.link.Link`; `up` turns it on and off, `reconnect` plays a broker that came back."""

    def __init__(self) -> None:
        self.up = True
        self.published: list[tuple[str, bytes, int, bool]] = []
        self._connections = 1

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> bool:
        if self.up:
            self.published.append((topic, payload, qos, retain))
        return self.up

    def connections(self) -> int:
        return self._connections

    def connected(self) -> bool:
        return self.up

    def reconnect(self) -> None:
        self.up = True
        self._connections += 1

    def acks(self) -> list[Ack]:
        return [decode_control(payload, Ack) for payload in self._on(Channel.ACK)]

    def commands(self) -> list[Command]:
        return [decode_control(payload, Command) for payload in self._on(Channel.COMMAND)]

    def desired(self) -> list[DesiredState]:
        return [decode_control(payload, DesiredState) for payload in self._on(Channel.DESIRED) if payload]

    def retained(self, topic: str) -> bytes:
        """Return what a station that subscribes now would be given; empty for nothing."""
        kept = [payload for name, payload, _, retain in self.published if name == topic and retain]
        return kept[-1] if kept else b""

    def _on(self, channel: Channel) -> list[bytes]:
        return [payload for name, payload, _, _ in self.published if parse_topic(name)[1] is channel]
