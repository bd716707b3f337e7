"""Where the uplink, the update loop and the loop for remote settings meet: one desired state for two readers, one report of two."""

from __future__ import annotations

import threading

import msgspec

from agent.mailboxes import Inbox
from agent.ports.clock import Clock
from agent.ports.orders import OrderInbox, Report
from contract.messages import DesiredState, ReportedState
from contract.update_states import UpdateState

_ON_TRIAL = frozenset({UpdateState.SELFTEST.value, UpdateState.TRIAL.value, UpdateState.PROBATION.value})


class SplitInbox:
    """`agent.ports.config.DesiredSplit` in front of the update loop's inbox.

    While settings are on trial (`held`), the update loop gets no order: were a bundle tried at the same time, nobody could say
    which of the two a crash is the fault of.
    """

    def __init__(self, updates: OrderInbox, *, held: bool) -> None:
        self._updates, self._settings = updates, Inbox()
        self._lock = threading.Lock()
        self._held = held
        self._kept: DesiredState | None = None

    def put(self, desired: DesiredState) -> None:
        """Uplink loop: leave the retained desired state for both."""
        self._settings.put(desired)
        with self._lock:
            if self._held:
                self._kept = desired
            else:
                self._updates.put(desired)

    def take(self, within_s: float) -> DesiredState | None:
        """Loop for remote settings: return the newest desired state not yet taken here, waiting at most `within_s`."""
        return self._settings.take(within_s)

    def hold(self, held: bool) -> None:
        """Loop for remote settings: keep desired states from the update loop, or let it have the newest of those kept."""
        with self._lock:
            self._held = held
            if not held and self._kept is not None:
                self._updates.put(self._kept)
                self._kept = None


class JointReport:
    """The station's reported state, of which the update loop says one part and the loop for remote settings another."""

    def __init__(self, report: Report, clock: Clock) -> None:
        self._report, self._clock = report, clock
        self._lock = threading.Lock()
        self._update: ReportedState | None = None
        self._settings: dict[str, str | int] = {}

    def publish(self, state: ReportedState) -> None:
        """Update loop: report how its update stands."""
        with self._lock:
            self._update = state
            self._publish()

    def latest(self) -> ReportedState | None:
        """See `agent.ports.orders.Report`."""
        return self._report.latest()

    def reset(self) -> None:
        """See `agent.ports.orders.Report`."""
        self._report.reset()

    def settings(self, *, digest: str, state: str, deployment: str = "", reason: str = "", config_seq: int = 0) -> None:
        """Loop for remote settings: report how they stand."""
        with self._lock:
            self._settings = {
                "configuration": digest,
                "config_state": state,
                "config_deployment": deployment,
                "config_reason": reason,
                "config_seq": config_seq,
            }
            self._publish()

    def update_on_trial(self) -> bool:
        """Return whether a bundle is about to be tried or on trial, or may be: the update loop has not said yet."""
        with self._lock:
            return self._update is None or self._update.update_state in _ON_TRIAL

    def _publish(self) -> None:
        if self._update is not None:  # it reports where it stands as it starts
            joint = msgspec.structs.replace(self._update, at=self._clock.now(), **self._settings)
            self._report.publish(joint)
