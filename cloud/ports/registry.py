"""Released versions, as the loops and the API see them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contract.decode import Prediction
from contract.errors import PlumblineError
from contract.messages import ConfigOrder, Order


class Release(Protocol):
    """A released version. `digest` is its bundle's SHA-256."""

    @property
    def version(self) -> str:
        """Return the name people use."""

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the bundle's archive."""

    @property
    def size_bytes(self) -> int:
        """Return the archive's size."""

    @property
    def created_at(self) -> float:
        """Return when it was released, Unix seconds."""

    @property
    def release_counter(self) -> int:
        """Return the counter below which a device refuses bundles."""


class Releases(Protocol):
    """The catalog of released versions."""

    def all(self) -> Sequence[Release]:
        """Return every release, newest first."""

    def get(self, version: str) -> Release:
        """Return one release.

        Raises:
            NotFound: no such version.
        """

    def by_digest(self, digest: str) -> Release | None:
        """Return the release whose bundle has this digest, or None."""


class VersionStages(Protocol):
    """Where released versions stand, and the names by which they are meant."""

    def check_usable(self, version: str) -> None:
        """Do nothing where a version may be rolled out.

        Raises:
            RefusedError: it was retired; the message says by whom and why.
        """

    def resolve(self, name: str) -> str:
        """Return the version that `name` means: an alias ("champion", "candidate") or the version itself."""

    def rolled_out(self, version: str, actor: str, now: float) -> None:
        """Record that a version reached everybody: it is the champion from now on."""


class OrderSigner(Protocol):
    """Holds the order key."""

    def sign(self, order: Order) -> str:
        """Return the order in a signed DSSE envelope, as JSON text."""


class ConfigSigner(Protocol):
    """Holds the order key."""

    def sign_configuration(self, order: ConfigOrder) -> str:
        """Return the settings in a signed DSSE envelope, as JSON text."""


class SecondModel(Protocol):
    """A full-precision model in memory. Thread-safe."""

    @property
    def version(self) -> str:
        """Return the release it belongs to."""

    @property
    def batches(self) -> bool:
        """Return whether it takes several images at once."""

    def tensor(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return its input for one image, [1,...]; the same shape for every image.

        Raises:
            BadImage: the pixels do not fit.
        """

    def blank(self) -> NDArray[Any]:
        """Return an input of the right shape, to measure it with."""

    def predict(self, tensors: NDArray[Any]) -> Sequence[Prediction | PlumblineError]:
        """Return what it says of each of `tensors`, [N,...], or why it says nothing of one. Raises whatever the runtime does."""


class FullPrecision(Protocol):
    """The full-precision models behind the released artefacts."""

    def load(self, bundle: str) -> SecondModel:
        """Load the model of the release that `bundle` belongs to; it may take seconds.

        Raises:
            NotFound: that bundle has none.
            BadModel: it does not load.
        """


class ImageFiles(Protocol):
    """Images by content."""

    def put(self, content: bytes) -> str:
        """Store bytes durably and return their SHA-256."""

    def path(self, digest: str) -> Path:
        """Return where the bytes are.

        Raises:
            NotFound: they are not there.
        """
