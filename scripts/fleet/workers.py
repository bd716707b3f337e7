"""The cloud's workers of a simulated run: the product's own, each a process."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.fleet.child import Child


def start_workers(count: int, url: str, host: str, port: int, folder: Path) -> list[Child]:
    """Start `count` workers that take from the broker at `host` and `port` and commit to the database at `url`."""
    workers = []
    for number in range(1, count + 1):
        command = [sys.executable, "-m", "scripts.fleet.worker", url, host, str(port), f"fleet-worker-{number}"]
        worker = Child(f"worker {number}", command, folder / f"worker-{number}.log")
        worker.start()
        workers.append(worker)
    return workers
