"""Keeps the quantizer's chatter away from progress lines."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator

import numpy as np


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what is printed and logged below an error, and numpy's warnings about empty histograms."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            yield
    finally:
        logging.disable(disabled)
