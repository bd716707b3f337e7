"""`plumbline-agent run`: the station daemon."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from agent.settings_example import EXAMPLE
from contract.errors import PlumblineError

if TYPE_CHECKING:
    from agent.health.log import StderrLog
    from agent.ports.clock import Clock
    from agent.remote_settings import RemoteSettings
    from agent.settings import Settings
    from agent.wiring import Station

_EPILOG = f"""\
A frame captured while no bundle is installed is REVIEW (no_model). SIGTERM or Ctrl-C closes the window, stores it, sends what
it can within two seconds, and leaves. The exit code is 1 when something judged could not be stored.

example:
  plumbline-agent run --config agent.toml

Under agent.toml lies the profile of the board, over it the environment: plumbline-agent config --help.

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
    """Run until a signal, or until a folder is read to its end; an order of settings starts the station anew meanwhile."""
    import msgspec

    from agent.clock import SystemClock
    from agent.health.board import board
    from agent.health.board_profile import GENERIC
    from agent.health.log import StderrLog
    from agent.settings import load_settings

    def chosen(settings: Settings) -> Settings:
        if not args.source:
            return settings
        return msgspec.structs.replace(settings, source=msgspec.structs.replace(settings.source, kind=args.source))

    local = chosen(load_settings(args.config))
    clock = SystemClock()
    log = StderrLog(sys.stderr, clock, name=local.station, form=local.log.format)
    forward_logging(log)
    if local.board == "auto" and local.profile in GENERIC:
        log.say(f"no board profile knows '{board()}': it is {local.profile}")
    starts = _Starts(log, clock)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: starts.end())
    signal.signal(signal.SIGHUP, lambda _number, _frame: starts.reload())
    if not local.trust.order_keys:
        return 0 if starts.once(local, lambda: chosen(load_settings(args.config))) else 1
    with ExitStack() as stack:
        remote = _open_remote(args.config, local, log, chosen, stack)
        return 0 if starts.again_and_again(remote) else 1


def _open_remote(
    path: Path, local: Settings, log: StderrLog, chosen: Callable[[Settings], Settings], stack: ExitStack
) -> RemoteSettings:
    from agent.health.home_lock import HomeLock
    from agent.remote_settings import RemoteSettings
    from agent.slots.config_file import ConfigFile

    folder = local.home_folder / "config"
    # A trial is counted before the station takes its home: a second agent, which will not get it, must not count.
    stack.callback(HomeLock(folder).release)
    return RemoteSettings(path, ConfigFile(folder), log, changed=chosen)


class _Starts:
    """The station, started once or again and again in this process."""

    def __init__(self, log: StderrLog, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._stop = threading.Event()
        self._ended = False
        self._station: Station | None = None

    def end(self) -> None:
        """Signal handler: stop cleanly, for good."""
        self._ended = True
        self._stop.set()

    def reload(self) -> None:
        """Signal handler: [[models]] are read again."""
        if self._station is not None:
            self._station.reload_asked.set()

    def once(self, settings: Settings, reread: Callable[[], Settings], remote: RemoteSettings | None = None) -> bool:
        """Start the station, run it to its end and close it; return whether it ended as it should."""
        from agent.settings import service_environment
        from agent.wiring import Station

        self._station = station = Station(
            settings, self._clock, self._log, service_environment(), reread=reread, remote=remote
        )
        try:
            if station.simulated:
                self._log.say("SIMULATED: this station's images are generated, no camera is connected")
            return station.run(self._stop)
        finally:
            self._station = None
            station.close()

    def again_and_again(self, remote: RemoteSettings) -> bool:
        """Start the station for as long as orders of settings want it started anew, and once more without one that fails."""
        while True:
            self._stop = threading.Event()
            if self._ended:  # the signal may have come between two starts
                self._stop.set()
            settings = remote.load(self._stop)
            try:
                well = self.once(settings, remote.reread, remote)
            except Exception as error:
                # With settings on trial, whatever it is: back to those before.
                what = error.one_line() if isinstance(error, PlumblineError) else f"{type(error).__name__}: {error}"
                if not remote.give_up(f"the station does not run with them: {what}"):
                    raise
                continue
            if self._ended:
                return well
            if not well and not remote.restart_asked() and remote.give_up("the station ended by itself"):
                continue
            if not remote.restart_asked():
                return well


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
