"""The database away, slow, deadlocked, full or read-only in mid-load: the stations keep what is theirs, and all of it arrives."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.postgres_process import Postgres
from tests.chaos.process_plant import Plant, Process, wait_until
from tests.chaos.produced import outbox_depth
from tests.chaos.small_disk import SmallDisk
from tests.fixtures_broker import Broker

_BACKLOG = 30  # more than ever wait while commits go on


@pytest.fixture
def small_disk(request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)  # PostgreSQL's account is another
    try:
        disk = SmallDisk(folder / "disk", request.param)
    except PermissionError as error:
        pytest.skip(f"only root may mount a small disk: {error}")
    yield disk
    disk.unmount()
    shutil.rmtree(folder)


@pytest.mark.long
def test_a_postgresql_that_is_down_at_the_start_is_waited_for(postgres: Postgres, postgres_plant: Plant) -> None:
    postgres.kill()
    station, worker = _station(postgres_plant), postgres_plant.worker()
    worker.start()
    wait_until(lambda: _backlog(station) > _BACKLOG)
    postgres.start()
    if not worker.running():
        worker.start()  # as systemd would
    _ends_well(postgres_plant, station)


def test_a_postgresql_killed_in_mid_load_loses_nothing_that_was_acknowledged(
    postgres: Postgres, postgres_plant: Plant
) -> None:
    _through(postgres_plant, begin=postgres.kill, end=postgres.start)


def test_a_sqlite_file_that_another_holds_locked_is_waited_for(plant: Plant) -> None:
    held: list[sqlite3.Connection] = []

    def lock() -> None:
        connection = sqlite3.connect(plant.folder / "cloud.db", timeout=60.0, isolation_level=None)
        held.append(connection)
        connection.execute("BEGIN IMMEDIATE")

    def unlock() -> None:
        held[0].execute("ROLLBACK")
        held[0].close()

    _through(plant, begin=lock, end=unlock)


@pytest.mark.long
def test_a_sqlite_file_locked_for_longer_than_its_patience_is_waited_for_all_the_same(plant: Plant) -> None:
    released = threading.Event()

    def lock() -> None:
        connection = sqlite3.connect(plant.folder / "cloud.db", timeout=60.0, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        released.wait(25.0)
        connection.execute("ROLLBACK")
        connection.close()

    _through(plant, begin=lock, end=lambda: None, backlog=0)


@pytest.mark.long
def test_tables_of_postgresql_that_another_holds_locked_are_waited_for(
    postgres: Postgres, postgres_plant: Plant
) -> None:
    connection = postgres.connect()

    def lock() -> None:
        connection.execute("BEGIN")
        connection.execute("LOCK TABLE summaries IN SHARE ROW EXCLUSIVE MODE")

    _through(postgres_plant, begin=lock, end=lambda: connection.execute("ROLLBACK"))
    connection.close()


@pytest.mark.long
def test_a_batch_that_postgresql_gives_up_to_end_a_deadlock_is_stored_all_the_same(
    postgres: Postgres, postgres_plant: Plant
) -> None:
    connection = postgres.connect()
    connection.execute("SET deadlock_timeout = '60s'")  # so that the worker is the one who is given up

    def deadlock() -> None:
        connection.execute("BEGIN")
        # Statuses are written after summaries, in one transaction: the worker comes to wait here with the other table in hand.
        connection.execute("LOCK TABLE station_status IN SHARE ROW EXCLUSIVE MODE")
        mine = connection.info.backend_pid
        blocked = f"SELECT count(*) FROM pg_stat_activity WHERE {mine} = ANY (pg_blocking_pids(pid))"
        observer = postgres.connect()
        wait_until(lambda: observer.execute(blocked.encode()).fetchone() != (0,))
        observer.close()
        connection.execute("LOCK TABLE summaries IN SHARE ROW EXCLUSIVE MODE")
        connection.execute("ROLLBACK")

    _through(postgres_plant, begin=deadlock, end=lambda: None, backlog=0)
    counted = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    # Statistics are written a little later.
    wait_until(lambda: connection.execute(counted.encode()).fetchone() != (0,))
    connection.close()


@pytest.mark.parametrize("small_disk", [8], indirect=True)
def test_a_full_disk_under_sqlite_is_waited_for(small_disk: SmallDisk, tmp_path: Path, broker: Broker) -> None:
    plant = Plant(tmp_path, broker.port, f"sqlite:///{small_disk.path / 'cloud.db'}")
    try:
        _through(plant, begin=small_disk.fill, end=small_disk.free)
    finally:
        plant.close()


@pytest.mark.parametrize("small_disk", [32], indirect=True)
@pytest.mark.long
def test_a_full_disk_under_postgresql_is_waited_for(
    small_disk: SmallDisk, postgres: Postgres, tmp_path: Path, broker: Broker
) -> None:
    # The log of PostgreSQL lies elsewhere: without room for that it stops, which is the test above.
    folder = postgres.give_folder(small_disk.path / "space")
    postgres.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
    plant = Plant(tmp_path, broker.port, postgres.use_new_database("TABLESPACE small"))
    try:
        _through(plant, begin=small_disk.fill, end=small_disk.free)
    finally:
        plant.close()
        postgres.drop_database()
        postgres.execute("DROP TABLESPACE small")


@pytest.mark.long
def test_a_postgresql_that_only_reads_for_a_while_is_waited_for(postgres: Postgres, postgres_plant: Plant) -> None:
    def set_read_only(on: str) -> None:
        connection = postgres.connect()
        connection.execute("SET default_transaction_read_only = off")  # whoever ends it may write
        connection.execute(f"ALTER DATABASE {postgres.database} SET default_transaction_read_only = {on}".encode())
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        connection.close()

    # More than a connection may hold unacknowledged: what is refused must not fill it for good.
    _through(
        postgres_plant, begin=lambda: set_read_only("on"), end=lambda: set_read_only("off"), backlog=300, stations=4
    )


def _through(
    plant: Plant, *, begin: Callable[[], object], end: Callable[[], object], backlog: int = _BACKLOG, stations: int = 1
) -> None:
    """Let the fault begin under load and last until summaries pile up at the stations; then everything must arrive once."""
    worker = plant.worker()
    worker.start()
    made = [_station(plant, f"s{number}") for number in range(stations)]
    wait_until(lambda: plant.has_committed(3))
    begin()
    wait_until(lambda: all(_backlog(station) >= backlog for station in made))
    end()
    _ends_well(plant, *made)
    assert worker.running(), worker.said()[-2000:]


def _station(plant: Plant, name: str = "s1") -> Process:
    station = plant.station(name, rate=60.0, count=1_000_000)
    station.start(stay=True)
    return station


def _backlog(station: Process) -> int:
    return outbox_depth(Path(str(station.arguments["home"])))


def _ends_well(plant: Plant, *stations: Process) -> None:
    for station in stations:
        assert station.running(), station.said()[-2000:]
    plant.drain(*stations)
    assert plant.check() > _BACKLOG
