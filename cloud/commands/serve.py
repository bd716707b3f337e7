"""plumbline-cloud serve: the aggregator, its API and its dashboard."""

from __future__ import annotations

import argparse
import logging
from contextlib import closing
from pathlib import Path

from cloud.commands.output import Subparsers
from cloud.settings import load_settings


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "serve",
        help="run the aggregator, its HTTP API and its dashboard",
        epilog="example: plumbline-cloud serve --config plant/cloud.toml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    settings = load_settings(args.config)
    import uvicorn

    from cloud import wiring  # after the config is known to be good: loading everything takes seconds

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with wiring.listen(settings.api.host, settings.api.port) as listener, closing(wiring.lock_home(settings)):
        aggregator = wiring.Aggregator(settings)
        config = uvicorn.Config(aggregator.app, log_level="warning", access_log=False, timeout_graceful_shutdown=5)
        aggregator.start()
        print(f"dashboard and API on {settings.api.url()}", flush=True)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            aggregator.stop()
    return 0
