"""A broker, a proxy before it, a cloud behind it and as many stations as a test wants; each test ends with its ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.network.plant import Plant


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """Nothing started yet but the proxies."""
    made = Plant(tmp_path)
    yield made
    made.close()
