"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fixtures_broker import Broker, start_broker

# A law is about values: how long an example takes on a machine that others use too is no part of it.
settings.register_profile("plumbline", settings(), deadline=None)
settings.load_profile("plumbline")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real mosquitto of the test's own."""
    started = start_broker(tmp_path / "broker")
    yield started
    started.kill()
