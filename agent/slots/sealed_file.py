"""Sealed values read from files: what cannot be read is absent (OTA-5)."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from agent.update.sealed import unseal

S = TypeVar("S", bound=msgspec.Struct)


def read_sealed(path: Path, kind: type[S]) -> S | None:
    """Return the value of type `kind` in the file at `path`; None when it is missing, torn or not readable."""
    try:
        return unseal(path.read_bytes(), kind)
    except OSError:
        return None
