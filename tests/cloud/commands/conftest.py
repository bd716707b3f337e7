"""What tests of commands that run in the tests' own process share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Take back what `serve` makes of this process's log."""
    levels = {name: logging.getLogger(name).level for name in ("", *logging.root.manager.loggerDict)}
    handlers = list(logging.root.handlers)
    yield
    logging.root.handlers[:] = [handler for handler in logging.root.handlers if handler in handlers]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
