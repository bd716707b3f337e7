"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from hypothesis import HealthCheck, settings

from tests.fixtures_broker import Broker, start_broker
from tests.fixtures_postgres import database_url, new_database, postgres, postgres_url  # noqa: F401

# A law is about values: how long an example takes on a machine that others use too is no part of it.
settings.register_profile(
    "plumbline",
    settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("plumbline")

# Nor is how long a test's own server takes to answer: httpx would give it five seconds, unless a test says otherwise.
for _phase in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, _phase, 60.0)


# Begun first, each in this order: files that wait for processes and clocks, those that take longest at the head of them, and files
# that keep a core busy. One of these and one of those at a time fill two cores; what is short comes last, so that no worker
# is left alone with a long file. Pages come before cloud/api, whose applications leave theirs in the process. See scripts/test.
_WAITING = ("docs", "e2e", "browser", "agent", "broker", "chaos", "deploy")
_BUSY = (
    "cloud/retrain",
    "scripts",
    "cloud/drift",
    "realdata",
    "cloud/rollout",
    "cloud/registry",
    "cloud/quantize",
    "cloud/store",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let files that wait and files that are busy take turns, and all others follow; within a file the order stays."""
    groups = [_files_below(folders, items) for folders in (_WAITING, _BUSY)]
    place = {file: (n + 0.5) / len(group) for group in groups for n, file in enumerate(group)}
    items.sort(key=lambda item: place.get(_file_of(item), 1.0))


def _files_below(folders: tuple[str, ...], items: list[pytest.Item]) -> list[str]:
    """Return the files of `items` below `folders` of tests/, folder by folder."""
    files = dict.fromkeys(map(_file_of, items))
    return [file for folder in folders for file in files if file.startswith(f"tests/{folder}/")]


def _file_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real mosquitto of the test's own."""
    started = start_broker(tmp_path / "broker")
    yield started
    started.kill()
