"""Remote settings of stations, as the loops see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StandingConfiguration:
    """The newest settings ordered for a station; `published` once the broker took them. Empty `settings`: agent.toml alone."""

    station: str
    config_seq: int
    settings: str
    deployment: str
    envelope: str
    published: bool
    issued_at: float
    reason: str
    probation_s: float = 60.0


class ConfigurationBook(Protocol):
    """The newest settings of each station. Each call is one transaction."""

    def next_seq(self, station: str) -> int:
        """Return the config_seq that the next order of `station` must bear."""

    def put(self, standing: StandingConfiguration, actor: str) -> None:
        """Store an order with its audit log entry; RefusedError when another with its number was stored meanwhile."""

    def renew(self, old: StandingConfiguration, new: StandingConfiguration) -> None:
        """Let `new`, the same order signed anew, stand in the place of `old`; RefusedError when something else does."""

    def all_standing(self) -> list[StandingConfiguration]:
        """Return the newest settings of each station that has some, by station."""

    def standing(self, station: str) -> StandingConfiguration | None:
        """Return the newest settings of a station, None when it never had any."""

    def unpublished(self) -> list[StandingConfiguration]:
        """Return the settings that the broker has not taken yet."""

    def mark_published(self, standing: StandingConfiguration) -> None:
        """Record that the broker took these very settings."""

    def republish_all(self) -> None:
        """Mark all as not yet taken."""
