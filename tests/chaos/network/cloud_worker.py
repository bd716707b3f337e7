"""The cloud's ingest side as one worker process runs it, in threads: real link, real loop, real tables."""

from __future__ import annotations

import queue
import threading
import time
from pathlib import Path

from cloud.broker.mqtt import MqttLink
from cloud.ingest_loop import IngestLoop
from cloud.ports.batch import Batch, Outcome
from cloud.ports.link import Arrival
from tests.chaos.ledger import Balance, Produced, read_committed, settle
from tests.fakes.cloud_tables import Tables, commit_batch, open_tables


class CloudWorker:
    """One worker on `port`; `keepalive_s` below the product's 15 s is set on paho behind its back, to wait less."""

    def __init__(self, port: int, tables: Tables, *, client_id: str = "cloud", keepalive_s: int = 15) -> None:
        self.tables = tables
        arrivals: queue.Queue[Arrival] = queue.Queue(2000)
        self.link = MqttLink("127.0.0.1", port, client_id, arrivals, time.time)
        self.loop = IngestLoop(arrivals, self.link, self._commit, time.time, time.sleep)
        self._thread = threading.Thread(target=self.loop.run, name="worker", daemon=True)
        self.link.start()
        if keepalive_s != 15:
            self.link._client._keepalive = keepalive_s
        self._thread.start()

    def _commit(self, batch: Batch, now: float) -> Outcome:
        return commit_batch(self.tables, batch, now)

    def count(self) -> int:
        """Return how many summaries are committed."""
        return sum(each.summaries for each in self.tables.summaries.totals())

    def stop(self) -> None:
        """Finish the batch at hand and say goodbye."""
        self.loop.stop()
        self._thread.join(60)
        self.link.stop()


class Cloud:
    """Tables, and a worker on them that can be ended and begun again."""

    def __init__(self, folder: Path, port: int, *, keepalive_s: int = 15) -> None:
        self.tables = open_tables(folder / "cloud.db")
        self._port, self._keepalive_s = port, keepalive_s
        self.worker: CloudWorker | None = None

    def start(self) -> CloudWorker:
        """Begin to work."""
        assert self.worker is None
        self.worker = CloudWorker(self._port, self.tables, keepalive_s=self._keepalive_s)
        return self.worker

    def stop(self) -> None:
        """Go away in good order."""
        if self.worker is not None:
            self.worker.stop()
            self.worker = None

    def balance(self, produced: Produced) -> Balance:
        """Return what became of everything `produced`."""
        return settle(produced, read_committed(self.tables.database))

    def close(self) -> None:
        """End everything."""
        self.stop()
        self.tables.database.close()
