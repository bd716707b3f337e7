"""What the uplink loop and the update loop say to each other."""

from __future__ import annotations

from typing import Protocol

from contract.messages import DesiredState, ReportedState


class OrderInbox(Protocol):
    """The newest desired state from the cloud. Thread-safe; unverified: the update loop trusts nothing in it."""

    def put(self, desired: DesiredState) -> None:
        """Uplink loop: leave the retained desired state; a newer one replaces one not yet taken."""

    def take(self, within_s: float) -> DesiredState | None:
        """Update loop: return the desired state left and not yet taken, waiting at most `within_s`."""


class Report(Protocol):
    """The station's reported state. Thread-safe."""

    def publish(self, state: ReportedState) -> None:
        """Update loop: replace the retained reported state; sent when the link is up."""

    def latest(self) -> ReportedState | None:
        """Uplink loop: return the newest state if it was not returned yet since `reset`, else None."""

    def reset(self) -> None:
        """Uplink loop: forget what was returned, so that a new connection sends it again."""
