"""`plumbline-agent reload`: let a running station read its [[models]] again."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

_EPILOG = """\
Models named under [[models]] are loaded and unloaded while the line runs; every other key needs a restart. A file with a
mistake in it changes nothing. What became of it stands in the station's journal and in `plumbline-agent status`.

example:
  plumbline-agent reload --config agent.toml
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "reload",
        help="load and unload [[models]] while the station runs",
        description="Let a running station read the [[models]] of its agent.toml again.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=Path("agent.toml"), help="agent.toml (default %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check the file, then signal the process that holds the station's home."""
    from agent.health.home_lock import holder_of
    from agent.settings import load_settings
    from contract.errors import NotFound

    settings = load_settings(args.config)
    holder = holder_of(settings.home_folder)
    if holder is None:
        raise NotFound(
            f"no station runs on '{settings.home_folder}'", hint="start it: plumbline-agent run --config agent.toml"
        )
    os.kill(holder, signal.SIGHUP)
    print(f"the station (process {holder}) reads its models again", file=sys.stderr)
    return 0
