"""plumbline-cloud ingest: workers that take summaries in, as many as the load asks for."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path

from cloud.commands.output import Subparsers, log_to_stderr
from cloud.settings import CloudSettings, load_settings
from contract.errors import InvalidConfig

_EXAMPLES = """examples:
  plumbline-cloud ingest --config plant/cloud.toml
  plumbline-cloud ingest --workers 4 --config plant/cloud.toml
  plumbline-cloud ingest --broker 10.0.0.7:1883 --config plant/cloud.toml

All workers, on any number of machines, share one subscription: each summary goes to one of them. `serve` takes its share too,
unless cloud.toml says `in_serve = false` under [ingest]. More than one worker is of use with PostgreSQL; SQLite has one writer."""

_MOST_WORKERS = 64


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "ingest",
        help="run workers that take summaries from the broker into the database",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes to run (default %(default)s)")
    parser.add_argument("--broker", default="", metavar="HOST:PORT", help="be with this broker only (default: all)")
    parser.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    parser.add_argument(
        "--json", action="store_true", help="print what each worker did, a JSON object a line, at the end"
    )
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ingest until told to stop."""
    from cloud.ports.shards import split_shard

    settings = load_settings(args.config)
    if not 1 <= args.workers <= _MOST_WORKERS:
        raise InvalidConfig(f"--workers {args.workers} is outside 1..{_MOST_WORKERS}")
    for broker in (args.broker, *settings.broker.shards):
        if broker:
            split_shard(broker)
    log_to_stderr(settings.log.format)
    if args.worker is None and args.workers > 1:
        return _supervise(args)
    return _work(args, settings)


def _work(args: argparse.Namespace, settings: CloudSettings) -> int:
    stopping = threading.Event()
    # Before the imports, which take a while: whoever is told to stop meanwhile stops.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    from cloud.ingest_wiring import broker_context
    from cloud.ingest_worker import work

    parent = os.getppid() if args.worker is not None else 0
    done = work(settings, args.worker or 0, stopping, broker=args.broker, parent=parent, tls=broker_context(settings))
    if args.json:
        # In one write: other workers have the same stdout.
        print(json.dumps(done) + "\n", end="", flush=True)
    return 0


def _supervise(args: argparse.Namespace) -> int:
    from cloud.clock import SystemClock
    from cloud.worker_pool import WorkerPool

    clock = SystemClock()
    config = str(args.config.resolve())
    shared = (
        "--config",
        config,
        *(("--broker", args.broker) if args.broker else ()),
        *(("--json",) if args.json else ()),
    )
    pool = WorkerPool(
        [(sys.executable, "-m", "cloud", "ingest", *shared, "--worker", str(number)) for number in range(args.workers)],
        clock.monotonic,
        clock.sleep,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: pool.stop())
    return pool.run()
