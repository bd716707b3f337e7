"""Which broker a station is with, where stations are spread over several: rendezvous hashing (Thaler & Ravishankar 1996).

Each broker's weight for a station is SHA-256(broker, station); the heaviest has it. Both sides can tell without asking, nothing
is stored, and a broker that is added takes 1/n of the stations from the others and moves nobody else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from contract.errors import InvalidConfig


def shard_of(station: str, shards: Sequence[str]) -> str:
    """Return the one of `shards` that `station` is with, whatever their order.

    Raises:
        ValueError: there are none.
    """
    return max(shards, key=lambda shard: (hashlib.sha256(f"{shard}\0{station}".encode()).digest(), shard))


def split_shard(shard: str) -> tuple[str, int]:
    """Return (host, port) of "HOST:PORT"; an IPv6 address stands in brackets.

    Raises:
        InvalidConfig: it is none.
    """
    host, colon, port = shard.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65_536:
        raise InvalidConfig(f"'{shard[:120]}' is no broker", hint='use "HOST:PORT", e.g. "10.0.0.7:1883"')
    return host, int(port)
