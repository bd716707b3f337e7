"""`plumbline-agent run`: the station daemon."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from agent.settings import EXAMPLE

if TYPE_CHECKING:
    from agent.health.log import StderrLog

_EPILOG = f"""\
A frame captured while no bundle is installed is REVIEW (no_model). SIGTERM or Ctrl-C closes the window, stores it, sends what
it can within two seconds, and leaves. The exit code is 1 when something judged could not be stored.

example:
  plumbline-agent run --config agent.toml

every key of agent.toml, with its default (paths are relative to the file):

{EXAMPLE}"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "run",
        help="run the station",
        description="Judge every frame of the source, watch for drift, report to the cloud, follow signed updates.",
        epilog=_EPILOG.replace("%", "%%"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=Path("agent.toml"), help="agent.toml (default %(default)s)")
    parser.add_argument(
        "--source", choices=("simulated", "folder"), help="use this kind of source, whatever the file says"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until a signal, or until a folder is read to its end."""
    import msgspec

    from agent.clock import SystemClock
    from agent.health.log import StderrLog
    from agent.settings import load_settings, service_environment
    from agent.wiring import Station

    settings = load_settings(args.config)
    if args.source:
        settings = msgspec.structs.replace(settings, source=msgspec.structs.replace(settings.source, kind=args.source))
    clock = SystemClock()
    log = StderrLog(sys.stderr, clock, name=settings.station)
    forward_logging(log)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    station = Station(settings, clock, log, service_environment(), reread=lambda: load_settings(args.config))
    signal.signal(signal.SIGHUP, lambda _number, _frame: station.reload_asked.set())
    try:
        if station.simulated:
            log.say("SIMULATED: this station's images are generated, no camera is connected")
        return 0 if station.run(stop) else 1
    finally:
        station.close()


class _Forward(logging.Handler):
    """What modules log goes to the station's one journal, repeats rate-limited."""

    def __init__(self, log: StderrLog) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        if record.levelno >= logging.WARNING:
            self._log.fault(f"{record.name}:{record.msg}", text)
        else:
            self._log.say(text)


def forward_logging(log: StderrLog) -> None:
    """Send what the agent's modules log to `log`."""
    logger = logging.getLogger("agent")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [_Forward(log)]
