"""The update line's thread: which signed order is followed, and when (DESIGN 6); `agent.update_steps` follows it.

Everything it touches is a port. A report is a statement about the disk, made after it, and changes nothing when it cannot be
sent (OTA-5).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from agent.image_fetch import ImageFetch
from agent.line_match import LineMatch
from agent.order_desk import OrderDesk
from agent.ports.clock import Clock
from agent.ports.orders import OrderInbox, Report
from agent.ports.slots import BundleSwitch
from agent.ports.update import FloorStore, SelfTester, SlotStore
from agent.update.backoff import full_jitter_s
from agent.update.trust import Acceptance
from agent.update_reports import UpdateReports
from agent.update_steps import UpdateSteps
from contract.errors import BadOrder, TransientError
from contract.messages import DesiredState
from contract.signature import OrderKey

_log = logging.getLogger(__name__)

_TICK_S = 1.0


class UpdateLoop:
    """Follows signed orders for `station`, one at a time; a newer one that holds supersedes the one under way.

    Args:
        boot: this outbox's boot id, for the reports.
        keys: returns the order keys that hold now.
        roll: draws uniformly from 0..1, for the jitter of retries.
    """

    def __init__(
        self,
        station: str,
        boot: str,
        keys: Callable[[], Sequence[OrderKey]],
        *,
        inbox: OrderInbox,
        report: Report,
        images: ImageFetch,
        slots: SlotStore,
        floors: FloorStore,
        selftest: SelfTester,
        switch: BundleSwitch,
        clock: Clock,
        roll: Callable[[], float],
    ) -> None:
        self._desk = OrderDesk(station, keys, inbox=inbox, slots=slots, floors=floors, clock=clock)
        self._reports = UpdateReports(station, boot, slots, report, clock)
        self._steps = UpdateSteps(
            reports=self._reports,
            images=images,
            slots=slots,
            floors=floors,
            selftest=selftest,
            switch=switch,
            clock=clock,
            roll=roll,
            breaks_off=lambda: self.stopping or self._desk.newer_waits(),
        )
        self._clock, self._roll = clock, roll
        self._stop = threading.Event()
        self._line = LineMatch(slots, switch)
        self._unsaid = False  # a disk that failed kept a report at rest from being made
        self.faults = 0
        """Errors that nothing here foresaw, counted by the outermost guard."""

    @property
    def refused_orders(self) -> int:
        """Orders that were not followed."""
        return self._desk.refused

    @property
    def stopping(self) -> bool:
        """Whether the station stops: what takes long is to end, and nothing follows from that it did."""
        return self._stop.is_set()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; the body of the update thread."""
        self._stop = stop
        started, failed = False, 0
        while not stop.is_set():
            try:
                if not started:
                    self.start()
                    started = True
                self.tick(_TICK_S)
                failed = 0
            except TransientError as error:  # the disk, at the start
                failed += 1
                _log.warning("the update loop tries again: %s", error.one_line())
                stop.wait(full_jitter_s(failed, self._roll()))
            except Exception:  # noqa: BLE001  the daemon's outermost guard: an update must never end the station
                failed += 1
                self.faults += 1
                _log.exception("the update loop failed and goes on")
                stop.wait(full_jitter_s(failed, self._roll()))

    def start(self) -> None:
        """Take up what a restart interrupted, and report where this station stands. Call once, before `tick`."""
        self._steps.take_up()

    def tick(self, within_s: float) -> None:
        """Do one step of the update under way, or wait at most `within_s` for something to do."""
        try:
            self._tick(within_s)
        except TransientError as error:
            # Between two updates the disk did not give what an order is judged by, or a report is made of: later, then.
            _log.warning("the update loop waits for the disk: %s", error.one_line())
            self._unsaid = True
            self._clock.sleep(within_s)

    def forgive(self) -> None:
        """Take back the try of a trial that this process ended as it should: a shut-down says nothing about a bundle.

        Call it once `run` has returned.
        """
        self._steps.forgive()

    def _tick(self, within_s: float) -> None:
        if self._steps.order is None:
            judge = self._line.look()
            if judge is not None:
                self._reports.judge, self._unsaid = judge, True
            if self._unsaid:
                self._reports.rest()
                self._unsaid = False
        desired = self._desk.take(self._steps.wait_s(within_s))
        if desired is not None:
            try:
                self._consider(desired)
            except TransientError:
                self._desk.put_back(desired)
                raise
        self._steps.go_on(within_s)

    def _consider(self, desired: DesiredState) -> None:
        if not desired.envelope:
            return  # no order yet
        try:
            acceptance, order = self._desk.judge(desired, self._steps.order)
        except BadOrder as error:
            self._tell_refusal(self._desk.refuse(error))
            return
        if acceptance is Acceptance.UNDER_WAY:
            return  # delivered again while being followed
        if acceptance is Acceptance.REPEATED:
            self._reports.rest()
            return
        self._steps.begin(order)

    def _tell_refusal(self, said: str) -> None:
        if said and self._steps.order is not None:
            self._steps.tell(said)
        elif said:
            self._reports.refusal(said)
