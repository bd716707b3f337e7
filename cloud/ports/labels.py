"""What judging a series by people's labels needs: held-out records, and a place for what was seen of each series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from cloud.drift.held_out import HeldOut


@dataclass(frozen=True, slots=True)
class FoundHeldOut:
    """A bundle's held-out record; `why` says why there is none, else ""."""

    record: HeldOut | None
    why: str


class HeldOutBook(Protocol):
    """The held-out records of released bundles."""

    def of(self, bundle: str) -> FoundHeldOut:
        """Return the record of a bundle by its digest. Never raises."""


class AnswerStates(Protocol):
    """What the cloud remembers of each series' answers."""

    def load(self) -> dict[str, bytes]:
        """Return every series' state."""

    def save(self, states: Mapping[str, bytes]) -> None:
        """Store the states of some series, in one transaction."""
