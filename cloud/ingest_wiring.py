"""What takes messages in, put together: for `serve` and for the workers of `ingest`, which know no more of the cloud than this."""

from __future__ import annotations

import queue
import ssl
from collections.abc import Callable

from cloud import __version__
from cloud.broker.mqtt import RECEIVE_MAXIMUM, MqttLink
from cloud.broker.sharded import RunningLink, ShardedLink
from cloud.broker.tls import client_context
from cloud.clock import SystemClock
from cloud.ingest_loop import IngestLoop
from cloud.ports.link import Arrival, Link
from cloud.ports.shards import split_shard
from cloud.settings import CloudSettings
from cloud.store.batches import Batches
from cloud.store.database import Database
from cloud.telemetry import Telemetry


def make_arrivals(brokers: int = 1) -> queue.Queue[Arrival]:
    """Return where arrivals wait: room for what all brokers send unacknowledged, and for one that comes back to send it again."""
    return queue.Queue((brokers + 1) * RECEIVE_MAXIMUM)


def brokers_of(settings: CloudSettings) -> tuple[str, ...]:
    """Return the brokers as "HOST:PORT"."""
    host, port = settings.broker.host, settings.broker.port
    return settings.broker.shards or (f"[{host}]:{port}" if ":" in host else f"{host}:{port}",)


def broker_context(settings: CloudSettings) -> ssl.SSLContext | None:
    """Return how the ingest side proves itself to the broker, None for a broker without TLS.

    Raises:
        InvalidConfig: a file of [broker] cannot be used.
    """
    broker = settings.broker
    if not broker.ca_file:
        return None
    return client_context(*(settings.path(file) for file in (broker.ca_file, broker.cert_file, broker.key_file)))


def make_link(
    brokers: tuple[str, ...],
    client_id: str,
    arrivals: queue.Queue[Arrival],
    now: Callable[[], float],
    *,
    tls: ssl.SSLContext | None = None,
    announce: bool = True,
    channels: bool = True,
) -> RunningLink:
    """Return a link to one broker or over several (`announce` and `channels` as for `MqttLink`).

    Raises:
        InvalidConfig: one is no "HOST:PORT".
    """
    links = {
        broker: MqttLink(*split_shard(broker), client_id, arrivals, now, tls=tls, announce=announce, channels=channels)
        for broker in brokers
    }
    return ShardedLink(links) if len(links) > 1 else next(iter(links.values()))


def make_telemetry(settings: CloudSettings) -> Telemetry | None:
    """Return what follows traces; None where [trace] names no collector.

    Raises:
        InvalidConfig: it does, and OpenTelemetry is not installed.
    """
    return Telemetry(__version__, endpoint=settings.trace.endpoint) if settings.trace.endpoint else None


def make_ingest(
    settings: CloudSettings,
    arrivals: queue.Queue[Arrival],
    link: Link,
    database: Database,
    clock: SystemClock,
    telemetry: Telemetry | None = None,
) -> IngestLoop:
    """Return the loop from arrivals to the database."""
    return IngestLoop(
        arrivals,
        link,
        Batches(database).commit,
        clock.now,
        clock.sleep,
        batch_size=settings.ingest.batch,
        batch_window_s=settings.ingest.batch_ms / 1e3,
        traced=telemetry.ingested if telemetry is not None else None,
    )
