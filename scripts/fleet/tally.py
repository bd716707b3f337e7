"""What a simulated fleet saw: counts, and a line for each summary that was acknowledged. One thread writes."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Delivered:
    """When a summary was made, first sent and acknowledged, in the fleet's monotonic seconds."""

    produced_s: float
    sent_s: float
    acked_s: float


@dataclass(slots=True)
class Tally:
    """`sent` counts summaries that were sent once or more, `resent` every further time one was.

    `unheard`: times that the broker took one when no worker was subscribed; `refused`: that it would not have one.
    """

    connected: int = 0
    connected_peak: int = 0
    connections: int = 0
    produced: int = 0
    sent: int = 0
    resent: int = 0
    unheard: int = 0
    refused: int = 0
    acked: int = 0
    acked_unknown: int = 0
    conflicts: int = 0
    renewals: int = 0
    bad_packets: int = 0
    last_acked_s: float = 0.0
    per_second: dict[int, int] = field(default_factory=dict)
    _times: array[float] = field(default_factory=lambda: array("d"))

    def connect(self) -> None:
        """Count a connection that the broker accepted."""
        self.connected += 1
        self.connections += 1
        self.connected_peak = max(self.connected_peak, self.connected)

    def deliver(self, produced_s: float, sent_s: float, acked_s: float) -> None:
        """Note an acknowledged summary."""
        self.acked += 1
        self.last_acked_s = acked_s
        second = int(acked_s)
        self.per_second[second] = self.per_second.get(second, 0) + 1
        self._times.extend((produced_s, sent_s, acked_s))

    def delivered(self) -> Iterator[Delivered]:
        """Give every acknowledged summary, in the order of acknowledgement."""
        times = self._times
        for i in range(0, len(times), 3):
            yield Delivered(times[i], times[i + 1], times[i + 2])
