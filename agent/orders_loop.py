"""The thread that asks for orders over HTTP, while no broker brings them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from agent.ports.clock import Clock
from agent.ports.orders import OrderInbox, Report
from agent.update.backoff import full_jitter_s
from contract.errors import PlumblineError, RefusedError
from contract.messages import DesiredState, ReportedState

_log = logging.getLogger(__name__)

PERIOD_S = 300.0
_SPREAD_S = 30.0
_TICK_S = 1.0


class AskedOrders(Protocol):
    """Where orders are asked for and reports are left."""

    def poll(self) -> DesiredState | None:
        """Return the desired state; None when it is still the one returned last; raises PlumblineError."""

    def report(self, state: ReportedState) -> None:
        """Tell how this station stands; raises PlumblineError."""


class OrdersLoop:
    """Polls every `period_s` at most, jittered so that a fleet that lost its broker does not ask all at once.

    Args:
        needed: whether to ask now: there is no broker, or it was not reached for long.
        roll: draws uniformly from 0..1.
    """

    def __init__(
        self,
        orders: AskedOrders,
        inbox: OrderInbox,
        report: Report,
        clock: Clock,
        *,
        needed: Callable[[], bool],
        roll: Callable[[], float],
        period_s: float = PERIOD_S,
    ) -> None:
        self._orders, self._inbox, self._report, self._clock = orders, inbox, report, clock
        self._needed, self._roll, self._period_s = needed, roll, period_s
        self._alone = False
        self._next_poll = self._next_report = 0.0
        self._failures = 0
        self._unsent: ReportedState | None = None
        self._said = ""
        self.faults = 0
        """Errors that nothing here foresaw, counted by the outermost guard."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        while not stop.wait(_TICK_S):
            try:
                self.tick()
            except Exception:  # noqa: BLE001  the daemon's outermost guard: asking must never end the station
                self.faults += 1
                _log.exception("asking for orders failed and goes on")
                stop.wait(full_jitter_s(min(self.faults, 8), self._roll()))

    def tick(self) -> None:
        """Ask when it is time to, and send the newest report that was not sent yet."""
        now = self._clock.monotonic()
        if not self._needed():
            self._alone = False
            return
        if not self._alone:
            self._alone = True
            # A fleet that lost its broker, or its power, in one moment must not ask in one moment.
            first = now + self._roll() * _SPREAD_S
            self._next_poll, self._next_report = max(first, self._next_poll), max(first, self._next_report)
        if now >= self._next_poll:
            self._next_poll = now + self._ask(self._poll)
        if now >= self._next_report:
            self._unsent = self._report.latest() or self._unsent
            if self._unsent is not None:
                wait_s = self._ask(self._send)
                self._next_report = now + (wait_s if self._unsent is not None else 0.0)

    def _poll(self) -> None:
        desired = self._orders.poll()
        if desired is not None:
            self._inbox.put(desired)

    def _send(self) -> None:
        if self._unsent is not None:
            self._orders.report(self._unsent)
            self._unsent = None

    def _ask(self, call: Callable[[], None]) -> float:
        """Return how long to wait before the same call again."""
        try:
            call()
        except PlumblineError as error:
            self._failures += 1
            if error.one_line() != self._said:
                self._said = error.one_line()
                _log.info("orders over HTTP: %s", self._said)
            if isinstance(error, RefusedError):
                return self._period_s * (0.5 + 0.5 * self._roll())  # until somebody changes something
            return full_jitter_s(self._failures, self._roll(), cap_s=self._period_s)
        self._failures, self._said = 0, ""
        return self._period_s * (0.5 + 0.5 * self._roll())
