"""The database's file is moved away or deleted while it is in use: nothing is acknowledged, and somebody is told."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from cloud.ingest_loop import IngestLoop
from cloud.ports.batch import Batch, Outcome
from cloud.ports.link import Arrival
from cloud.ports.needs import Severity
from cloud.settings import load_settings
from cloud.store.database import Database
from cloud.wiring import Aggregator
from contract.codec import encode_summary
from contract.errors import TransientError
from contract.messages import Summary
from contract.topics import Channel, topic
from tests.fakes.cloud_plant import CloudPlant
from tests.fakes.cloud_tables import T0, Tables, open_tables, summary
from tests.fakes.link import RecordingLink


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "cloud.db"


@pytest.fixture
def tables(file: Path) -> Iterator[Tables]:
    file.parent.mkdir()
    opened = open_tables(file)
    yield opened
    opened.database.close()


def batch_of(*sent: Summary) -> Batch:
    return Batch(summaries=[(each, encode_summary(each)) for each in sent])


def rows_in(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM summaries").fetchone()[0])


def test_nothing_is_stored_while_the_file_is_away_and_all_goes_on_when_it_is_back(tables: Tables, file: Path) -> None:
    tables.batches.commit(batch_of(summary("s1", 1)), T0)
    assert tables.database.why_lost() == ""
    away = file.rename(file.with_name("cloud.db.moved"))
    assert "moved away or deleted" in tables.database.why_lost()
    with pytest.raises(TransientError, match="moved away") as refused:
        tables.batches.commit(batch_of(summary("s1", 2)), T0)
    assert "put it back" in refused.value.hint
    assert not file.exists(), "no empty file was made in its place"
    away.rename(file)
    assert tables.batches.commit(batch_of(summary("s1", 2)), T0).new == 1
    assert rows_in(file) == 2


def test_another_file_in_its_place_is_not_taken_for_it(tables: Tables, file: Path) -> None:
    tables.batches.commit(batch_of(summary("s1", 1)), T0)
    backup = file.with_name("backup.db")
    with contextlib.closing(sqlite3.connect(file)) as own, contextlib.closing(sqlite3.connect(backup)) as other:
        own.backup(other)
    backup.replace(file)
    with pytest.raises(TransientError, match="another file took the place"):
        tables.batches.commit(batch_of(summary("s1", 2)), T0)


def test_a_file_that_goes_during_the_commit_is_not_acknowledged(tables: Tables, file: Path) -> None:
    link, arrivals = RecordingLink(), queue.Queue[Arrival]()
    settled: list[int] = []

    def commit_and_lose(_batch: Batch, _now: float) -> Outcome:
        with tables.database.write() as connection:
            connection.execute(text("INSERT INTO station_totals (station) VALUES ('s9')"))
            file.unlink()
        return Outcome(1)

    def stop(_: float) -> None:
        loop.stop()

    loop = IngestLoop(arrivals, link, commit_and_lose, lambda: T0, stop)
    payload = encode_summary(summary("s1", 1))
    loop.ingest([Arrival(topic("s1", Channel.SUMMARY), payload, lambda: settled.append(1))])
    assert not settled and not link.published, "neither the broker nor the station was told"


def test_a_connection_made_meanwhile_makes_no_empty_database(tables: Tables, file: Path) -> None:
    with contextlib.ExitStack() as held:
        held.enter_context(tables.database.read())
        file.rename(file.with_name("away"))
        # More than are open already.
        with pytest.raises(TransientError, match="moved away"):
            for _ in range(12):
                held.enter_context(tables.database.read())
    assert not file.exists()


def test_a_deleted_database_is_copied_from_the_process_that_has_it_as_the_runbook_says(
    tables: Tables, file: Path, tmp_path: Path
) -> None:
    tables.batches.commit(batch_of(*(summary("s1", seq) for seq in range(1, 30))), T0)
    for each in file.parent.glob("cloud.db*"):
        each.unlink()
    saved = tmp_path / "saved"
    saved.mkdir()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            name = str(link.readlink()).removesuffix(" (deleted)")
            if name in (str(file), f"{file}-wal"):
                shutil.copyfile(link, saved / Path(name).name)
    assert rows_in(saved / "cloud.db") == 29


def test_memory_and_servers_have_no_file_to_lose(postgres_url: str) -> None:
    for url in ("sqlite://", postgres_url):
        with contextlib.closing(Database(url)) as database:
            assert database.why_lost() == ""


def test_healthz_and_the_overview_say_it_until_the_file_is_back(tmp_path: Path) -> None:
    plant = CloudPlant(tmp_path)
    aggregator = Aggregator(load_settings(plant.home / "cloud.toml"))
    aggregator.start()
    clock = [0.0]
    aggregator._alerts.needs._now = lambda: clock[0]

    operator = (plant.home / "secrets" / "operator.token").read_text().strip()

    def healthz() -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(aggregator.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.get("/healthz", headers={"Authorization": f"Bearer {operator}"})

        return asyncio.run(ask())

    def told() -> list[tuple[Severity, str]]:
        clock[0] += 60.0
        return [(n.severity, n.runbook) for n in aggregator._alerts.needs.current() if n.kind == "database gone"]

    try:
        assert healthz().status_code == 200 and not told()
        away = (plant.home / "cloud.db").rename(plant.home / "away.db")
        said = healthz()
        assert said.status_code == 503 and "moved away or deleted" in said.json()["detail"]
        assert told() == [(Severity.PAGE, "database-gone")]
        away.rename(plant.home / "cloud.db")
        # Who looked while it was away says so until it looks again.
        until = time.monotonic() + 120.0
        while healthz().status_code != 200:
            assert time.monotonic() < until, healthz().text
            time.sleep(0.1)
        assert not told()
    finally:
        aggregator.stop()
