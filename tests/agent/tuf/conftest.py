from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from repository import Repository, Server, Station, serving

# update_plant.py lies beside the tests of the update loop.
sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60.0, trust_env=False) as client:
        yield client


@pytest.fixture
def repo() -> Repository:
    return Repository()


@pytest.fixture
def station(tmp_path: Path, http: httpx.Client, server: Server, repo: Repository) -> Station:
    return Station(tmp_path / "station", http, server, repo.pinned())


@pytest.fixture
def other_station(tmp_path: Path, http: httpx.Client, server: Server, repo: Repository) -> Callable[[str], Station]:
    """Another station that pins the same root."""
    return lambda name: Station(tmp_path / name, http, server, repo.pinned())
