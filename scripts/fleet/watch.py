"""What the run costs while it runs: memory at its most, the fleet's own lag, and a line now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scripts.fleet.child import Child
from scripts.fleet.tally import Tally

_EVERY_S, _TOLD_EVERY = 1.0, 5


@dataclass(slots=True)
class Peaks:
    """MB of resident memory at their most, and by how long this process was ever late by itself, in seconds."""

    broker_mb: float = 0.0
    worker_mb: float = 0.0
    lag_s: float = 0.0


class Watch:
    """Looks every second until it is cancelled."""

    def __init__(
        self,
        tally: Tally,
        waiting: Callable[[], int],
        broker: Child | None,
        workers: Sequence[Child],
        say: Callable[[str], None],
    ) -> None:
        self._tally, self._waiting, self._broker, self._workers, self._say = tally, waiting, broker, workers, say
        self.peaks = Peaks()

    async def run(self) -> None:
        """Look, for ever.

        Raises:
            StepFailed: a worker ended by itself.
        """
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        looks = 0
        while True:
            due_s = loop.time() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            peaks, looks = self.peaks, looks + 1
            peaks.lag_s = max(peaks.lag_s, loop.time() - due_s)
            if self._broker is not None:
                peaks.broker_mb = max(peaks.broker_mb, self._broker.rss_mb())
            for worker in self._workers:
                worker.check_alive()
                peaks.worker_mb = max(peaks.worker_mb, worker.rss_mb())
            if looks % _TOLD_EVERY == 0:
                self._tell(loop.time() - begun_s)

    def _tell(self, passed_s: float) -> None:
        tally = self._tally
        self._say(
            f"{passed_s:5.0f} s  connected {tally.connected:,}  made {tally.produced:,}  sent {tally.sent:,}"
            f"  acknowledged {tally.acked:,}  kept {self._waiting():,}  resent {tally.resent:,}"
            f"  broker {self.peaks.broker_mb:.0f} MB  worker {self.peaks.worker_mb:.0f} MB"
        )
