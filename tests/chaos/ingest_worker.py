"""An ingest worker as `plumbline-cloud ingest` has it, as its own process that dies at a chosen step.

python -m tests.chaos.ingest_worker --database URL --broker-port P --client-id ID [--kill-at POINT]
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.engine import Engine

from cloud.broker.mqtt import MqttLink
from cloud.broker.publish_socket import PublishSocket
from cloud.ingest_worker import work
from cloud.settings import CloudSettings
from cloud.settings_scale import BrokerSettings
from cloud.store import database
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
    watch_postgresql(plan)


def watch_postgresql(plan: KillPlan) -> None:
    """Tell `plan` of what SQLAlchemy does not see: COPY, and the commit that is sent with the last statements."""
    copy, execute = database.copy_rows, psycopg.Connection.execute
    copied = threading.Event()

    def copy_rows(*arguments: Any) -> None:
        plan.at("before-insert")
        copy(*arguments)
        plan.at("inserted")
        copied.set()

    def executed(self: psycopg.Connection[Any], query: Any, *arguments: Any, **named: Any) -> Any:
        if query == "COMMIT" and copied.is_set():
            copied.clear()
            plan.at("before-commit")
        return execute(self, query, *arguments, **named)

    database.copy_rows = copy_rows
    psycopg.Connection.execute = executed  # type: ignore[method-assign]


def watch_link(plan: KillPlan) -> None:
    """Tell `plan` of each PUBACK and each dn/ack."""
    acknowledge, publish = PublishSocket.acknowledge, MqttLink.publish

    def acknowledged(self: PublishSocket, mids: list[int]) -> None:
        for mid in mids:
            plan.at("before-puback")
            acknowledge(self, [mid])
            self.flush()  # it is on its way, and not only in this process
            plan.at("puback")

    def published(self: MqttLink, topic: str, *arguments: Any, **named: Any) -> bool:
        is_ack = topic.endswith("/dn/ack")
        if is_ack:
            plan.at("before-ack")
        taken = publish(self, topic, *arguments, **named)
        if is_ack:
            plan.at("ack")
        return taken

    PublishSocket.acknowledge = acknowledged  # type: ignore[method-assign]
    MqttLink.publish = published  # type: ignore[method-assign]


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
    broker = BrokerSettings(port=said.broker_port, client_id=said.client_id)
    work(CloudSettings(database=said.database, broker=broker), 0, told_to_stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
