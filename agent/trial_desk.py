"""The update loop's side of a trial: the candidate is offered to the frame loop, and what becomes of it is waited for."""

from __future__ import annotations

import logging

import msgspec

from agent.ports.clock import Clock
from agent.ports.slots import BundleSwitch, InstalledBundle, Trial, TrialOutcome, TrialPhase
from agent.ports.update import SlotStore
from contract.messages import Order
from contract.update_states import MAX_TRIES

_log = logging.getLogger(__name__)

_OUTCOME_GRACE_S = 60.0


class TrialDesk:
    """One trial at a time. One thread's."""

    def __init__(self, slots: SlotStore, switch: BundleSwitch, clock: Clock) -> None:
        self._slots, self._switch, self._clock = slots, switch, clock
        self._order: Order | None = None
        self._outcome: TrialOutcome | None = None
        self._due_s = 0.0
        self.in_charge = False
        """Whether the candidate is in charge, on probation."""

    @property
    def under_way(self) -> bool:
        """Whether a trial was offered by this process and has not ended."""
        return self._order is not None

    def offer(self, order: Order, bundle: InstalledBundle) -> None:
        """Count one more try of the ordered bundle, durably, and then ask the frame loop to take it up (OTA-4)."""
        probation, mark = order.probation, self._slots.committed()
        if mark is None or not mark.digest:
            # The first bundle has nobody to agree with: it is kept for running well.
            probation = msgspec.structs.replace(probation, min_agreement=0.0)
        tries = self._slots.begin_try(order)
        _log.info("bundle %s on trial, try %d of %d", bundle.digest[:12], tries, MAX_TRIES)
        self._switch.offer(Trial(bundle, order.deployment, probation))
        self._due_s = self._clock.monotonic() + probation.timeout_s + probation.serve_s + _OUTCOME_GRACE_S
        self._order, self._outcome, self.in_charge = order, None, False

    def listen(self, within_s: float) -> TrialOutcome | None:
        """Return how the trial ended, again and again until `close`; None while it goes on, waiting at most `within_s`."""
        order = self._order
        if order is None or self._outcome is not None:
            return self._outcome
        outcome = self._switch.next_outcome(within_s)
        self._hear_news(order)
        if outcome is not None and (outcome.deployment, outcome.bundle) == (order.deployment, order.bundle):
            self._outcome = outcome
        elif self._clock.monotonic() > self._due_s:
            why = "the trial came to no end within its time"
            self._outcome = TrialOutcome(order.deployment, order.bundle, False, why, 0, 0)
        return self._outcome

    def withdraw(self) -> None:
        """End the trial: whatever it has come to meanwhile, its bundle is in charge no more."""
        if self._order is not None:
            self._switch.withdraw(self._order.deployment, self._order.bundle)
        self.close()

    def close(self) -> None:
        """Forget the trial: it ended."""
        self._order, self._outcome, self.in_charge = None, None, False

    def _hear_news(self, order: Order) -> None:
        news = self._switch.news()
        if news is None or (news.deployment, news.bundle) != (order.deployment, order.bundle):
            return
        # A degraded station holds its trial: its own word on how long it may still take counts.
        self._due_s = self._clock.monotonic() + news.left_s + _OUTCOME_GRACE_S
        self.in_charge = news.phase is TrialPhase.IN_CHARGE
