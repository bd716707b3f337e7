"""The ceiling: a bare manual-ack subscriber that decodes and inserts batches, with no dedupe and no acknowledgement to stations.

One thread, no ORM: as little as can be done between a broker and a table with the same columns, as durable as the product.

usage: python -m scripts.benches.ingest_ceiling URL PORT BATCH
"""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from contract.codec import decode_summary
from contract.topics import Channel, shared_filter

_WINDOW_S = 0.1
_RECEIVE_MAXIMUM = 1000
_COLUMNS = "station, boot, seq, started_at, ended_at, received_at, bundle, captured, decided, dropped, payload"
_TABLE = (
    "(id {key}, station TEXT, boot TEXT, seq BIGINT, started_at {real}, ended_at {real}, received_at {real}, bundle TEXT,"
    " captured BIGINT, decided BIGINT, dropped BIGINT, payload {blob})"
)
Row = tuple[Any, ...]
Insert = Callable[[list[Row]], None]


def main() -> int:
    """Take in until SIGTERM."""
    url, port, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _Subscriber(_sqlite(url) if url.startswith("sqlite") else _postgres(url), batch).run(port)
    return 0


class _Subscriber:
    def __init__(self, insert: Insert, batch: int) -> None:
        self._insert, self._batch = insert, batch
        self._rows: list[Row] = []
        self._mids: list[int] = []
        self._oldest_s = 0.0
        self._stopping = False

    def run(self, port: int) -> None:
        client = paho.Client(CallbackAPIVersion.VERSION2, "ceiling", protocol=paho.MQTTv5, manual_ack=True)
        client.on_connect = self._subscribe
        client.on_message = self._take
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it so
        properties.ReceiveMaximum = _RECEIVE_MAXIMUM
        client.connect("127.0.0.1", port, keepalive=60, properties=properties)
        signal.signal(signal.SIGTERM, self._stop)
        while not self._stopping:
            client.loop(0.02)
            if self._rows and time.monotonic() - self._oldest_s >= _WINDOW_S:
                self._store(client)

    def _subscribe(self, client: paho.Client, *_: Any) -> None:
        client.subscribe(shared_filter(Channel.SUMMARY), 1)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _take(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        payload = bytes(message.payload)
        summary = decode_summary(payload)
        header, accounting = summary.header, summary.accounting
        if not self._rows:
            self._oldest_s = time.monotonic()
        self._rows.append(
            (
                header.station,
                header.boot,
                header.seq,
                header.started_at,
                header.ended_at,
                time.time(),
                header.bundle,
                accounting.captured,
                accounting.decided,
                sum(accounting.dropped.values()),
                payload,
            )
        )
        self._mids.append(message.mid)
        if len(self._rows) >= self._batch:
            self._store(client)

    def _store(self, client: paho.Client) -> None:
        self._insert(self._rows)
        for mid in self._mids:
            client.ack(mid, 1)
        self._rows, self._mids = [], []


def _sqlite(url: str) -> Insert:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    types = {"key": "INTEGER PRIMARY KEY", "real": "REAL", "blob": "BLOB"}
    connection.execute(f"CREATE TABLE summaries {_TABLE.format_map(types)}")
    into = f"INSERT INTO summaries ({_COLUMNS}) VALUES ({','.join('?' * 11)})"

    def insert(rows: list[Row]) -> None:
        with connection:
            connection.executemany(into, rows)

    return insert


def _postgres(url: str) -> Insert:
    import psycopg  # not where only SQLite is measured

    connection = psycopg.connect(url.replace("postgresql+psycopg", "postgresql"), autocommit=True)
    types = {"key": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "real": "DOUBLE PRECISION", "blob": "BYTEA"}
    connection.execute(f"CREATE TABLE summaries {_TABLE.format_map(types)}")
    connection.execute("ALTER TABLE summaries ALTER payload SET STORAGE EXTERNAL")
    into = f"COPY summaries ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
    kinds = ("text", "text", "int8", "float8", "float8", "float8", "text", "int8", "int8", "int8", "bytea")

    def insert(rows: list[Row]) -> None:
        # COPY is the fastest way in; the product cannot use it, since it must say which rows were there.
        with connection.transaction(), connection.cursor() as cursor, cursor.copy(into) as copy:
            copy.set_types(kinds)
            for row in rows:
                copy.write_row(row)

    return insert


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
