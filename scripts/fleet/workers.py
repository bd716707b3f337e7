"""The cloud's workers of a simulated run: the product's own (`plumbline-cloud ingest`), each a process."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.fleet.child import Child
from scripts.story.processes import wait_until


def start_workers(count: int, url: str, host: str, port: int, folder: Path) -> list[Child]:
    """Start `count` workers that take from the broker at `host` and `port` and commit to the database at `url`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "cloud.toml"
    # A JSON string is a TOML string too.
    config.write_text(
        f"database = {json.dumps(url)}\n\n[broker]\nhost = {json.dumps(host)}\nport = {port}\nclient_id = 'fleet'\n"
    )
    workers = []
    for number in range(count):
        command = [sys.executable, "-m", "cloud", "ingest", "--config", str(config), "--json", "--worker", str(number)]
        worker = Child(f"worker {number + 1}", command, folder / f"worker-{number + 1}.log")
        worker.start()
        workers.append(worker)
    return workers


def duplicates_dropped(workers: Sequence[Child]) -> int:
    """Return how many summaries the workers, now ended, had been sent again and did not store; -1 where one does not say."""
    dropped = 0
    for worker in workers:
        try:
            dropped += int(json.loads(worker.tail(1))["duplicates"])
        except (ValueError, KeyError, TypeError):
            return -1
    return dropped


def wait_subscribed(workers: Sequence[Child], within_s: float) -> None:
    """Wait until every worker has told its log that it is with the broker.

    Raises:
        StepFailed: one ended by itself, or did not come in time.
    """
    wait_until(
        "the workers are with the broker",
        lambda: all("connected to broker" in worker.tail(1_000) for worker in workers),
        within_s,
        list(workers),
    )
