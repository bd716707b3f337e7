"""What the update loop says of itself: statements about the disk, made after it (OTA-5)."""

from __future__ import annotations

import logging

from agent.ports.clock import Clock
from agent.ports.orders import Report
from agent.ports.update import SlotStore
from agent.update.reported import at_rest, under_way
from contract.errors import PlumblineError
from contract.messages import Order, ReportedState
from contract.update_states import UpdateState

_log = logging.getLogger(__name__)


class UpdateReports:
    """Makes reports of `station` with its outbox's `boot` id, and hands them on."""

    def __init__(self, station: str, boot: str, slots: SlotStore, report: Report, clock: Clock) -> None:
        self._station, self._boot, self._slots, self._report, self._clock = station, boot, slots, report, clock
        self._said_s = float("-inf")
        self.judge = ""
        """Who judges, where that is not the bundle that was committed."""

    def quiet_s(self) -> float:
        """Return how long ago the last report was made."""
        return self._clock.monotonic() - self._said_s

    def rest(self, reason: str = "") -> None:
        """Say how the last update ended; `reason` where there is more to say."""
        mark, last = self._slots.committed(), self._slots.last()
        said = reason or (last.reason if last else "")
        if self.judge:
            said = f"{self.judge}; {said}" if said else self.judge
        self._publish(at_rest(self._station, self._boot, self._clock.now(), mark, last, said))

    def work(self, order: Order, state: UpdateState, reason: str = "") -> None:
        """Say how far the update by `order` is."""
        mark, now = self._slots.committed(), self._clock.now()
        self._publish(under_way(self._station, self._boot, now, mark, order, state, reason))

    def refusal(self, reason: str) -> None:
        """Say at rest that an order was refused."""
        last = self._slots.last()
        # A roll-back says more than the refusal that repeats it.
        self.rest(reason if last is None or last.kept else "")

    def _publish(self, reported: ReportedState) -> None:
        self._said_s = self._clock.monotonic()
        try:
            self._report.publish(reported)
        except PlumblineError as error:
            # OTA-5: what is on the disk stands whether or not anybody could be told.
            _log.warning("the report of %s was not taken: %s", reported.update_state, error.one_line())
