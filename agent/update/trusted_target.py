"""What the image side of an update vouches for. On its own: the image side's import is budgeted, and brings no NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TrustedTarget:
    """A file that the image repository vouches for: its SHA-256, size, and what its signed `custom` says (any JSON object)."""

    name: str
    digest: str
    size_bytes: int
    custom: Mapping[str, Any]
