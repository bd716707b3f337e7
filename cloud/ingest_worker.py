"""One ingest worker: a connection to the broker, one to the database, and the loop between them. No HTTP."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from cloud.clock import SystemClock
from cloud.ingest_wiring import brokers_of, make_arrivals, make_ingest, make_link, make_telemetry
from cloud.settings import CloudSettings
from cloud.store.database import Database
from contract.errors import InvalidConfig

_log = logging.getLogger(__name__)


def worker_client_id(settings: CloudSettings, number: int) -> str:
    """Return a client id that is the same at the next start: one that died takes up the session that it left at the broker."""
    return f"{settings.broker.client_id}-ingest-{socket.gethostname()}-{number}"


def work(
    settings: CloudSettings,
    number: int,
    stopping: threading.Event,
    *,
    broker: str = "",
    tls: ssl.SSLContext | None = None,
    parent: int = 0,
) -> dict[str, Any]:
    """Ingest until `stopping` is set, and return what was done, ready for JSON.

    Args:
        number: which of this machine's workers it is.
        broker: the one to be with, as "HOST:PORT"; "" for all that the settings name.
        parent: the process to end with; 0 for none.
    Raises:
        InvalidConfig: the database cannot be opened, or this worker runs already.
    """
    brokers = (broker,) if broker else brokers_of(settings)
    name = worker_client_id(settings, number)
    clock = SystemClock()
    with _alone(f"{name} {brokers}"), contextlib.closing(Database(settings.database_url())) as database:
        arrivals = make_arrivals(len(brokers))
        link = make_link(brokers, name, arrivals, clock.now, tls=tls, announce=False)
        telemetry = make_telemetry(settings)
        loop = make_ingest(settings, arrivals, link, database, clock, telemetry)
        threading.Thread(target=_stop_in_time, args=(parent, stopping, loop.stop), daemon=True).start()
        link.start()
        _log.info("ingesting as %s from %s", name, ", ".join(brokers))
        try:
            loop.run()
        finally:
            stopping.set()
            link.stop()
            if telemetry is not None:
                telemetry.close()
    return {"worker": number, "client_id": name, **asdict(loop.counts), "queue": arrivals.qsize()}


def _stop_in_time(parent: int, stopping: threading.Event, stop: Callable[[], None]) -> None:
    """Stop when told to, or when the supervisor is no more: nobody would ever stop this worker."""
    while not stopping.wait(1.0):
        if parent and os.getppid() != parent:
            _log.warning("the supervisor is gone; ending")
            break
    stop()


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Hold `name` on this machine: two with one client id would throw each other off the broker, again and again.

    Raises:
        InvalidConfig: another process has it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        try:
            # An abstract socket (unix(7)): no file, and the system lets go of it when the process dies. 108 bytes at most.
            lock.bind(b"\0plumbline" + hashlib.sha256(name.encode()).digest())
        except OSError as error:
            hint = "stop it, or let one command start all: plumbline-cloud ingest --workers N"
            raise InvalidConfig(f"the worker {name} runs on this machine already", hint=hint) from error
        yield
