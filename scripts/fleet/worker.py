"""A cloud worker with nothing but what takes summaries in: the product's link, loop and tables.

usage: python -m scripts.fleet.worker DATABASE-URL HOST PORT CLIENT-ID
"""

from __future__ import annotations

import logging
import queue
import signal
import sys

from cloud.broker.mqtt import MqttLink
from cloud.clock import SystemClock
from cloud.ingest_loop import IngestLoop
from cloud.ports.batch import Batch, Outcome
from cloud.ports.link import Arrival
from cloud.store.database import Database
from cloud.store.stations import Stations
from cloud.store.summaries import DeadLetter, ReceivedSummary, Summaries

_ARRIVALS = 2_000


def main() -> int:
    """Work until SIGTERM."""
    url, host, port, client_id = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    clock = SystemClock()
    database = Database(url)
    summaries, stations = Summaries(database), Stations(database)

    def commit(batch: Batch, now: float) -> Outcome:
        received = [ReceivedSummary(summary, payload, now) for summary, payload in batch.summaries]
        dead = [DeadLetter(name, reason, payload[:4096], now) for name, reason, payload in batch.dead]
        new = summaries.commit(received, dead) if received or dead else 0
        if batch.states or batch.reports:
            stations.commit(batch.states, batch.reports, now)
        return Outcome(new)

    arrivals: queue.Queue[Arrival] = queue.Queue(_ARRIVALS)
    link = MqttLink(host, int(port), client_id, arrivals, clock.now)
    loop = IngestLoop(arrivals, link, commit, clock.now, clock.sleep)
    signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    link.start()
    loop.run()
    link.stop()
    database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
