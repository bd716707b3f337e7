"""A fresh database for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.cloud_tables import Tables, open_tables


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    opened = open_tables(tmp_path / "cloud.db")
    yield opened
    opened.database.close()
