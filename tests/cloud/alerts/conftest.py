"""Notices hold on both engines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.cloud_tables import Tables, open_tables


@pytest.fixture
def tables(database_url: str) -> Iterator[Tables]:
    opened = open_tables(database_url)
    yield opened
    opened.database.close()
