"""plumbline-cloud serve: the aggregator, its API and its dashboard."""

from __future__ import annotations

import argparse
import signal
import threading
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from cloud.commands.output import Subparsers, log_to_stderr
from cloud.settings import load_settings

_BACKLOG = 2048  # uvicorn's own


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "serve",
        help="run the aggregator, its HTTP API and its dashboard",
        epilog="example: plumbline-cloud serve --config plant/cloud.toml\n\n"
        "exit codes: 0 stopped by SIGTERM, 130 by Ctrl-C, 1 an error",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    settings = load_settings(args.config)
    # After the config is known to be good: loading everything takes seconds.
    from cloud import api_wiring, notices_wiring, store_wiring, wiring
    from cloud.api.doors import door
    from cloud.clock import SystemClock
    from cloud.provision_wiring import open_folder, people_context, stations_context
    from cloud.store.database import CannotOpen
    from contract.errors import PlumblineError

    log_to_stderr(settings.log.format)
    with ExitStack() as stack:
        listener = stack.enter_context(api_wiring.listen(settings.api.host, settings.api.port))
        devices = None
        if settings.api.device_port:
            devices = stack.enter_context(api_wiring.listen(settings.api.host, settings.api.device_port))
        stack.enter_context(closing(store_wiring.lock_home(settings)))
        try:
            aggregator = wiring.Aggregator(settings)
        except CannotOpen as error:
            with suppress(PlumblineError):  # a channel's file that is missing too must not hide what is wrong
                notices_wiring.tell_it_does_not_open(settings, error.one_line(), SystemClock().now)
            raise
        main = door(aggregator.app, people_context(settings))
        beside: threading.Thread | None = None
        if devices is not None:
            crl = open_folder(settings).crl
            stations = door(aggregator.device_app, stations_context(settings), for_devices=True, crl_file=crl)
            beside = threading.Thread(target=stations.run, kwargs={"sockets": [devices]}, name="device door")
        aggregator.start()
        # The server gives SIGTERM on when it has ended; unheard, it would end the process before what is below.
        signal.signal(signal.SIGTERM, lambda *_: setattr(main, "should_exit", True))
        # Who reads that line and asks at once waits for the first answer instead of being refused.
        for each in (listener, devices):
            if each is not None:
                each.listen(_BACKLOG)
        print(f"dashboard and API on {settings.api.url()}", flush=True)
        try:
            if beside is not None:
                beside.start()
            main.run(sockets=[listener])
        finally:
            if beside is not None:
                stations.should_exit = True
                beside.join(10.0)
            aggregator.stop()
    return 0
