"""What the loop for remote settings needs of the outside: where they are kept, and how the station is."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Protocol

from agent.update.config_health import Vitals
from agent.update.config_state import ConfigEnding, ConfigFloor, ConfigTrial
from contract.messages import ConfigOrder, DesiredState


class ConfigStore(Protocol):
    """The remote settings on this station's disk. Every method is durable when it returns; used by one thread at a time.

    Raises TransientError where the disk does not give what is there, and (StorageFull when it is room that is missing) from
    whatever writes.
    """

    def in_force(self) -> ConfigOrder | None:
        """Return the order whose settings were committed last, None before the first."""

    def trial(self) -> ConfigTrial | None:
        """Return the trial under way."""

    def last(self) -> ConfigEnding | None:
        """Return how the last change ended."""

    def banned(self) -> AbstractSet[tuple[str, str]]:
        """Return the (settings digest, deployment) pairs that failed here."""

    def floor(self) -> ConfigFloor:
        """Return the least that is ever again accepted."""

    def begin(self, order: ConfigOrder, before: Vitals) -> None:
        """Put `order` on trial; no start is counted yet."""

    def count_try(self) -> None:
        """Count one more start with what is on trial."""

    def commit(self, order: ConfigOrder) -> None:
        """Make the order's settings those in force, and end its trial."""

    def roll_back(self, order: ConfigOrder, reason: str) -> None:
        """End the order's trial without it and ban (settings, deployment)."""


class DesiredSplit(Protocol):
    """Where the uplink leaves desired states for two readers: the update loop, and the loop for remote settings."""

    def take(self, within_s: float) -> DesiredState | None:
        """Return the newest desired state not yet taken here, waiting at most `within_s`."""

    def hold(self, held: bool) -> None:
        """Keep the desired state from the update loop, or let it have what was kept."""


class ConfigReport(Protocol):
    """The part of the station's report that is about its settings."""

    def settings(self, *, digest: str, state: str, deployment: str = "", reason: str = "", config_seq: int = 0) -> None:
        """Report how the settings stand."""

    def update_in_the_way(self) -> bool:
        """Return whether a bundle is being fetched, about to be tried or on trial: no moment to start the station anew."""


class RemoteControl(Protocol):
    """What outlives a start of the station: its settings on trial, and the wish to be started anew."""

    def on_trial(self) -> ConfigTrial | None:
        """Return the trial that this station was started for."""

    def problem(self) -> str:
        """Return why the settings in force could not be used, "" when they are."""

    def moves_broker(self) -> bool:
        """Return whether what this start has on trial names a broker."""

    def check(self, settings: str) -> None:
        """Check that TOML text could be laid over agent.toml.

        Raises:
            InvalidConfig: it could not; the message says where.
        """

    def restart(self) -> None:
        """Have the station stop cleanly and start anew, in this process, with what the store says then."""
