"""An ingest worker as its own process: the cloud's store, ingest loop and MQTT link, which dies at a chosen step.

python -m tests.chaos.ingest_worker --database URL --broker-port P --client-id ID [--kill-at POINT]
"""

from __future__ import annotations

import argparse
import logging
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import paho.mqtt.client as paho
from sqlalchemy import event
from sqlalchemy.engine import Engine

from cloud.broker.mqtt import MqttLink
from cloud.ingest_loop import IngestLoop
from cloud.ports.batch import Batch, Commit, Outcome
from cloud.ports.link import Arrival
from cloud.store.commands import Commands
from cloud.store.database import Database
from cloud.store.stations import Stations
from cloud.store.summaries import DeadLetter, ReceivedSummary, Summaries
from tests.chaos.kill_points import KillPlan

WORKER_POINTS = ("before-insert", "inserted", "before-commit", "before-puback", "puback", "before-ack", "ack")
"""Of a batch with summaries. `before-puback`: it is committed and the broker was told nothing; `puback`: the first PUBACK is handed
over, no dn/ack; `before-ack`: all PUBACKs; `ack:N`: N stations have theirs."""


def watch_database(plan: KillPlan) -> None:
    """Tell `plan` of what every engine of this process does to the summaries."""

    def is_insert(statement: str) -> bool:
        return statement.lstrip().upper().startswith("INSERT INTO SUMMARIES")

    def before(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if is_insert(statement):
            connection.info["inserted"] = True
            plan.at("before-insert")

    def after(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if is_insert(statement):
            plan.at("inserted")

    def commit(connection: Any) -> None:
        if connection.info.pop("inserted", False):
            plan.at("before-commit")

    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "after_cursor_execute", after)
    event.listen(Engine, "commit", commit)


def watch_link(plan: KillPlan) -> None:
    """Tell `plan` of each PUBACK and each dn/ack."""
    ack, publish = paho.Client.ack, paho.Client.publish

    def acked(self: paho.Client, mid: int, qos: int) -> Any:
        plan.at("before-puback")
        result = ack(self, mid, qos)
        plan.at("puback")
        return result

    def published(self: paho.Client, topic: str, *arguments: Any, **named: Any) -> Any:
        is_ack = topic.endswith("/dn/ack")
        if is_ack:
            plan.at("before-ack")
        info = publish(self, topic, *arguments, **named)
        if is_ack:
            plan.at("ack")
        return info

    paho.Client.ack = acked  # type: ignore[method-assign]
    paho.Client.publish = published  # type: ignore[method-assign]


def make_commit(database: Database) -> Commit:
    """Return what the aggregator's wiring makes of the stores."""
    summaries, stations, commands = Summaries(database), Stations(database), Commands(database)

    def commit(batch: Batch, now: float) -> Outcome:
        received = [ReceivedSummary(summary, payload, now) for summary, payload in batch.summaries]
        dead = [DeadLetter(name, reason, payload, now) for name, reason, payload in batch.dead]
        new = summaries.commit(received, dead) if received or dead else 0
        if batch.states or batch.reports:
            stations.commit(batch.states, batch.reports, now)
        for result in batch.results:
            commands.answered(result)
        return Outcome(new)

    return commit


def main(words: Sequence[str] | None = None) -> int:
    """Ingest until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", required=True)
    parser.add_argument("--broker-port", type=int, required=True)
    parser.add_argument("--client-id", default="plumbline-cloud")
    parser.add_argument("--kill-at", default="")
    said = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    told_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_stop.set())
    plan = KillPlan(said.kill_at, WORKER_POINTS)
    watch_database(plan)
    watch_link(plan)
    arrivals: queue.Queue[Arrival] = queue.Queue(2_000)
    database = Database(said.database)
    link = MqttLink("127.0.0.1", said.broker_port, said.client_id, arrivals, time.time)
    loop = IngestLoop(arrivals, link, make_commit(database), time.time, time.sleep)

    def ingest() -> None:
        while not told_to_stop.is_set():
            try:
                loop.run()
            except Exception:
                logging.exception("the loop failed and goes on")
                told_to_stop.wait(0.5)

    thread = threading.Thread(target=ingest, name="ingest")
    thread.start()
    link.start()
    told_to_stop.wait()
    loop.stop()
    thread.join(30.0)
    link.stop()
    database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
