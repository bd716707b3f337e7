"""Kept images, and the one way they leave a station."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from contract.messages import SampleNote


class SampleStore(Protocol):
    """Images kept for review."""

    def find(self, sample: str) -> tuple[SampleNote, bytes] | None:
        """Return a kept sample's note and its PNG, or None: never kept, or evicted since."""

    def mark_asked(self, names: Sequence[str]) -> None:
        """Note that the cloud has asked for these images: they are the last to go when room runs out."""

    def mark_uploaded(self, sample: str) -> None:
        """Note that the cloud has this image."""


class SampleSender(Protocol):
    """Sends images to the cloud."""

    def send(self, note: SampleNote, png: bytes) -> None:
        """Send one image.

        Raises:
            LinkDown: the cloud was not reached.
            RefusedError: the cloud will not have it.
        """
