"""Released versions, as the loops and the API see them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contract.decode import Prediction
from contract.messages import Order


@dataclass(frozen=True, slots=True)
class Release:
    """A released version: its bundle and where it came from. `run` is the training run's folder, "" when there is none."""

    version: str
    bundle: str
    size_bytes: int
    created_at: float
    release_counter: int
    run: str


class Releases(Protocol):
    """The catalog of released versions."""

    def all(self) -> list[Release]:
        """Return every release, oldest first."""

    def by_version(self, version: str) -> Release:
        """Return one release.

        Raises:
            NotFound: no such version.
        """

    def by_bundle(self, bundle: str) -> Release | None:
        """Return the release whose bundle has this digest, or None."""


class OrderSigner(Protocol):
    """Holds the order key."""

    def sign(self, order: Order) -> str:
        """Return the order in a signed DSSE envelope, as JSON text."""


class FullPrecision(Protocol):
    """The full-precision models behind the released artefacts."""

    def predict(self, bundle: str, pixels: NDArray[np.uint8]) -> tuple[Prediction, str]:
        """Return (prediction, model name) of the full-precision model of the release that `bundle` belongs to.

        Raises:
            NotFound: that bundle has none.
            BadImage: the pixels do not fit.
        """


class ImageFiles(Protocol):
    """Images by content."""

    def put(self, data: bytes) -> str:
        """Store bytes durably and return their SHA-256."""

    def path(self, sha256: str) -> Path:
        """Return where the bytes are.

        Raises:
            NotFound: they are not there.
        """
