"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fixtures_broker import Broker, start_broker
from tests.fixtures_postgres import database_url, new_database, postgres, postgres_url  # noqa: F401

# A law is about values: how long an example takes on a machine that others use too is no part of it.
settings.register_profile("plumbline", settings(), deadline=None)
settings.load_profile("plumbline")


# Minutes in one file: begun last, they would be waited for by one worker alone. See scripts/test.
_BEGUN_FIRST = tuple(
    f"tests/{each}/" for each in ("e2e", "scripts", "cloud/retrain", "cloud/drift", "realdata", "agent/soak")
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first; within them, and after them, the order stays."""
    items.sort(key=lambda item: not item.nodeid.startswith(_BEGUN_FIRST))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real mosquitto of the test's own."""
    started = start_broker(tmp_path / "broker")
    yield started
    started.kill()
