"""The plant's own broker: what a stack light, a panel or a control system at the line listens to."""

from __future__ import annotations

from cloud.ports.link import Link
from contract.errors import LinkDown
from contract.topics import NOTICE

NAME = "mqtt"


class BrokerChannel:
    """`cloud.alerts.channel.Channel`. QoS 1, not retained: a message says what happened, and the last one is not how things are."""

    name = NAME

    def __init__(self, link: Link) -> None:
        self._link = link

    def send(self, body: str) -> None:
        """Hand one message to the broker.

        Raises:
            LinkDown: it is not reached; it is tried again.
        """
        if not self._link.publish(NOTICE, body.encode(), qos=1, retain=False):
            raise LinkDown("the broker is not reached")

    def close(self) -> None:
        """The link is the server's."""
