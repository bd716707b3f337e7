"""Several brokers as one link: what is for a station goes to the broker it is with, and all arrivals go to one queue."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

from cloud.ports.link import Link
from cloud.ports.shards import shard_of
from contract.errors import BadMessage
from contract.topics import parse_topic


class RunningLink(Link, Protocol):
    """A link that is started and stopped."""

    def start(self) -> None:
        """Connect in the background and keep trying."""

    def stop(self) -> None:
        """Say goodbye and disconnect."""


class ShardedLink:
    """A `Link` over one link a shard. Each announces the aggregator's liveness on its own broker."""

    def __init__(self, links: Mapping[str, RunningLink]) -> None:
        """`links`: by shard, as "HOST:PORT"; at least one."""
        if not links:
            raise ValueError("a link needs a broker")
        self._links = dict(links)
        shards = tuple(self._links)
        # A hundred thousand stations on ten brokers are a million hashes a minute otherwise.
        self._shard_of = lru_cache(maxsize=131_072)(lambda station: shard_of(station, shards))

    def start(self) -> None:
        """Connect to every broker in the background."""
        for link in self._links.values():
            link.start()

    def stop(self) -> None:
        """Disconnect from every broker."""
        for link in self._links.values():
            link.stop()

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> bool:
        """Hand a message to its station's broker, or to all where it is no station's; return whether it was taken by each."""
        try:
            station, _ = parse_topic(topic)
        except BadMessage:
            taken = [link.publish(topic, payload, qos=qos, retain=retain) for link in self._links.values()]
            return all(taken)
        return self._links[self._shard_of(station)].publish(topic, payload, qos=qos, retain=retain)

    def connections(self) -> int:
        """Return how often a connection was made so far, to any: whoever posts retained state anew posts all of it."""
        return sum(link.connections() for link in self._links.values())

    def connected(self) -> bool:
        """Return whether every broker is reached right now."""
        return all(link.connected() for link in self._links.values())
