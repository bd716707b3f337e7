"""What a fault proxy does to packets of one kind, and to the bytes of one direction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from tests.chaos.mqtt_framer import Kind, Packet


class Do(Enum):
    """What happens to a packet that a fault is about."""

    DROP = "drop"
    DOUBLE = "double"
    SWAP = "swap with the next one that the fault is about"
    CUT = "send the first bytes of it, then break the connection"
    RESET = "break the connection before it, by RST"


@dataclass(slots=True)
class Fault:
    """Something done to packets of a kind whose topic ends so: from the `first`th one seen since, `times` times."""

    kind: Kind
    do: Do
    first: int = 1
    times: int = 1
    at_byte: int = 0
    topic_ends: str = ""
    seen: int = 0
    done: int = 0

    def is_about(self, packet: Packet) -> bool:
        """Count `packet` and return whether something is done to it."""
        if packet.kind is not self.kind or not packet.topic.endswith(self.topic_ends):
            return False
        self.seen += 1
        if self.seen < self.first or self.done >= self.times:
            return False
        self.done += 1
        return True


@dataclass(slots=True)
class Way:
    """One direction of every connection through the proxy. Its methods may be called from any thread."""

    passed: Counter[Kind] = field(default_factory=Counter)
    """Packets handed on, by kind."""
    octets: int = 0
    """Bytes handed on."""
    _held: bool = False
    _octets_per_s: float = 0.0
    _delay_s: float = 0.0
    _faults: list[Fault] = field(default_factory=list)
    _watchers: list[Callable[[Packet], object]] = field(default_factory=list)

    def flow(self) -> None:
        """Let everything through again, what was held first."""
        self._held, self._octets_per_s, self._delay_s = False, 0.0, 0.0

    def hold(self) -> None:
        """Let nothing through, not even the news that a side has closed: a partition one way."""
        self._held = True

    def throttle(self, octets_per_s: float) -> None:
        """Let bytes through one by one."""
        self._octets_per_s = octets_per_s

    def delay(self, seconds: float) -> None:
        """Let everything through so much later."""
        self._delay_s = seconds

    def add(self, fault: Fault) -> Fault:
        """Do `fault` from the next packet on."""
        self._faults.append(fault)
        return fault

    def watch(self, watcher: Callable[[Packet], object]) -> None:
        """Show `watcher` every packet before anything is done to it; the proxy's thread calls it."""
        self._watchers.append(watcher)

    def clear(self) -> None:
        """Forget every fault."""
        self._faults.clear()
