"""The plant of the process and database half of the failure suite, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.postgres_process import Postgres
from tests.chaos.process_plant import Plant
from tests.fixtures_broker import Broker


@pytest.fixture
def plant(tmp_path: Path, broker: Broker) -> Iterator[Plant]:
    """Stations and workers on SQLite."""
    made = Plant(tmp_path, broker.port)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def either_plant(request: pytest.FixtureRequest, tmp_path: Path, broker: Broker) -> Iterator[Plant]:
    """Stations and workers on each database."""
    url = request.getfixturevalue("postgres").url() if request.param == "postgresql" else ""
    made = Plant(tmp_path, broker.port, url)
    yield made
    made.close()


@pytest.fixture
def postgres_plant(postgres: Postgres, tmp_path: Path, broker: Broker) -> Iterator[Plant]:
    """Stations and workers on PostgreSQL."""
    made = Plant(tmp_path, broker.port, postgres.url())
    yield made
    made.close()


@pytest.fixture(scope="session")
def _postgres_server() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    yield server
    server.close()


@pytest.fixture
def postgres(_postgres_server: Postgres) -> Iterator[Postgres]:
    """A PostgreSQL with an empty database; a test may kill it, if it starts it again."""
    _postgres_server.use_new_database()
    yield _postgres_server
    _postgres_server.drop_database()
