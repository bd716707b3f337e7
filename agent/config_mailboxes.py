"""Where the uplink, the update loop and the loop for remote settings meet: one desired state for two readers, one report of two."""

from __future__ import annotations

import threading

import msgspec

from agent.mailboxes import Inbox
from agent.ports.clock import Clock
from agent.ports.orders import OrderInbox, Report
from contract.messages import DesiredState, ReportedState
from contract.update_states import UpdateState

_S = UpdateState
# What a station that starts anew would cut short: a self-test and its process, a bundle on trial.
_TO_THE_END = frozenset(state.value for state in (_S.STAGED, _S.SELFTEST, _S.TRIAL, _S.PROBATION))
_FETCHING = frozenset(state.value for state in (_S.META, _S.DOWNLOAD))
_MAX_FETCH_S = 600.0
"""How long settings wait for a fetch. One that waits for its server for days must not keep them out for as long."""


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
        self._fetching_since_s: float | None = None

    def publish(self, state: ReportedState) -> None:
        """Update loop: report how its update stands."""
        with self._lock:
            self._update = state
            if state.update_state not in _FETCHING:
                self._fetching_since_s = None
            elif self._fetching_since_s is None:
                self._fetching_since_s = self._clock.monotonic()
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

    def update_in_the_way(self) -> bool:
        """Return whether an update must not be cut short now, or may not be: the update loop has not said yet.

        A fetch is waited for, within bounds: it is taken up again where it was.
        """
        with self._lock:
            if self._update is None:
                return True
            if self._fetching_since_s is not None:
                return self._clock.monotonic() - self._fetching_since_s < _MAX_FETCH_S
            return self._update.update_state in _TO_THE_END

    def _publish(self) -> None:
        if self._update is not None:  # it reports where it stands as it starts
            joint = msgspec.structs.replace(self._update, at=self._clock.now(), **self._settings)
            self._report.publish(joint)
