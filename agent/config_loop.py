"""Remote settings: order -> checked -> trial -> a new start -> probation -> kept, or back to those before (DESIGN 6).

One thread drives `ConfigLoop.run`, one loop a start of the station. What must survive is on the disk before the next step
begins: an order is on trial before the station stops, and ended before it starts anew with anything else. A report is a
statement about the disk, made after it (OTA-5).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.config_probation import SETTLE_SHARE, Probation
from agent.ports.clock import Clock
from agent.ports.config import ConfigReport, ConfigStore, DesiredSplit, RemoteControl
from agent.update.config_health import Vitals, between
from agent.update.config_trust import judge_configuration
from agent.update.trust import Acceptance
from contract.config_states import ConfigEvent, ConfigState, settings_digest, step
from contract.errors import BadOrder, PlumblineError, RefusedError, TransientError
from contract.messages import ConfigOrder, DesiredState
from contract.signature import OrderKey, verify_configuration

_log = logging.getLogger(__name__)

_TICK_S = 0.5
_MAX_REASON_CHARS = 500
_MAX_LOOK_S = 60.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What the loop works with, beside the station it is of."""

    store: ConfigStore
    inbox: DesiredSplit
    report: ConfigReport
    control: RemoteControl
    keys: Callable[[], Sequence[OrderKey]]
    vitals: Callable[[], Vitals]
    clock: Clock
    now: Callable[[], float]
    """The wall clock, never before the last authenticated time."""


class ConfigLoop:
    """Follows signed settings for `station`, one order at a time; a newer one supersedes one not yet on trial."""

    def __init__(self, station: str, parts: Parts) -> None:
        self._station, self._parts = station, parts
        self._state = ConfigState.IDLE
        self._waiting: ConfigOrder | None = None
        self._probation: Probation | None = None
        self._stashed: DesiredState | None = None
        self._history: deque[tuple[float, Vitals]] = deque(maxlen=256)
        self._refused = ""
        self._unknown: tuple[DesiredState, Sequence[OrderKey]] | None = None
        self._leaving = False
        self._unsaid = False  # a disk that failed kept a report at rest from being made
        self.faults = 0
        """Errors that nothing here foresaw, counted by the outermost guard."""
        self.refused_orders = 0

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        started = False
        while not stop.is_set():
            try:
                if not started:
                    self.start()
                    started = True
                self.tick(_TICK_S)
            except PlumblineError as error:
                _log.warning("remote settings: %s", error.one_line())  # the disk refused: tried again
                stop.wait(_TICK_S)
            except Exception:  # noqa: BLE001  the daemon's outermost guard: settings must never end the station
                self.faults += 1
                _log.exception("the loop for remote settings failed and goes on")
                stop.wait(_TICK_S)

    def start(self) -> None:
        """Begin the probation that this station was started for, or report how the settings stand. Call until it succeeds."""
        trial = self._parts.control.on_trial()
        if trial is None:
            self._rest()
            return
        if self._probation is None:  # else only the disk kept this from being said
            moves = self._parts.control.moves_broker()
            self._go(ConfigEvent.RESTARTED)
            self._probation = Probation(trial, self._parts.clock.monotonic(), moves_broker=moves)
            self._go(ConfigEvent.STARTED)
        self._say(trial.order)

    def tick(self, within_s: float) -> None:
        """Wait at most `within_s` for an order, then take what is under way one step further."""
        desired = self._parts.inbox.take(within_s)
        if self._leaving:
            return
        if self._probation is not None:
            if desired is not None:
                self._hear(self._probation, desired)
            self._watch(self._probation)
            return
        if self._unsaid:
            self._rest()
        self._history.append((self._parts.clock.monotonic(), self._parts.vitals()))
        desired, self._stashed = desired or self._stashed or self._signed_by_a_new_key(), None
        if desired is not None:
            try:
                self._consider(desired)
            except TransientError:
                self._stashed = desired  # the disk did not give what it is judged by: later, then
                raise
        if self._waiting is not None:
            self._begin(self._waiting)

    # Orders

    def _consider(self, desired: DesiredState) -> None:
        if not desired.configuration:
            return
        store, order, keys = self._parts.store, None, self._parts.keys()
        # New order keys come in the same message, and the update loop may take them up after this has looked.
        self._unknown = (desired, keys)
        try:
            order = verify_configuration(desired.configuration, keys)
            self._unknown = None
            if self._waiting is not None and order == self._waiting:
                return  # delivered again while being followed
            acceptance = judge_configuration(
                order,
                station=self._station,
                now=self._parts.now(),
                floor=store.floor(),
                banned=store.banned(),
                last=store.last(),
                in_force=store.in_force(),
            )
            if self._waiting is not None and order.config_seq <= self._waiting.config_seq:
                raise BadOrder(f"settings {order.config_seq} are not newer than {self._waiting.config_seq}")
            if acceptance is Acceptance.FOLLOW:
                self._parts.control.check(order.settings)
        except RefusedError as error:
            self._refuse(order, error)
            return
        self._refused = ""
        if acceptance is Acceptance.REPEATED:
            if self._waiting is None:  # else what is newer is waited for, and said
                self._rest()
            return
        if self._waiting is not None:
            self._go(ConfigEvent.SUPERSEDED)
        self._go(ConfigEvent.ORDER_ACCEPTED)
        self._waiting = order
        self._say(order)

    def _signed_by_a_new_key(self) -> DesiredState | None:
        """Return the desired state whose signature no key held, once there are other keys."""
        if self._unknown is None or list(self._parts.keys()) == list(self._unknown[1]):
            return None
        return self._unknown[0]

    def _refuse(self, order: ConfigOrder | None, error: RefusedError) -> None:
        self.refused_orders += 1
        if error.one_line() == self._refused:
            return  # the same retained order at every reconnection: said once
        _log.warning("remote settings refused: %s", error.one_line())
        if self._waiting is not None:
            self._say(self._waiting, f"another order was refused: {error.one_line()}")
        else:
            self._go(ConfigEvent.ORDER_REFUSED)
            self._say(order, error.one_line())
        self._refused = error.one_line()

    # A change

    def _begin(self, order: ConfigOrder) -> None:
        now_s = self._parts.clock.monotonic()
        if self._parts.report.update_in_the_way():
            return  # one thing at a time is on trial: what goes wrong then has one cause
        # What it will be compared with: as long a look at the station as it is now.
        look_s = min(order.probation_s * (1 - SETTLE_SHARE), _MAX_LOOK_S)
        if now_s - self._history[0][0] < look_s:
            return
        earlier = next(vitals for at, vitals in reversed(self._history) if now_s - at >= look_s)
        # Not a moment sooner: an order to abort a bundle on trial must reach the update loop.
        self._parts.inbox.hold(True)
        try:
            if self._parts.report.update_in_the_way():
                self._parts.inbox.hold(False)  # it began just now
                return
            self._parts.store.begin(order, between(earlier, self._history[-1][1]))
        except PlumblineError:
            self._parts.inbox.hold(False)  # a disk that is full for hours must not keep orders waiting for as long
            raise
        self._waiting = None
        self._go(ConfigEvent.BEGUN)
        _log.info("settings %d go on trial: the station starts anew", order.config_seq)
        try:
            self._say(order)
        finally:
            self._leave()

    def _hear(self, probation: Probation, desired: DesiredState) -> None:
        self._stashed = desired
        if not desired.configuration:
            return
        try:
            probation.hear(verify_configuration(desired.configuration, self._parts.keys()))
        except BadOrder:
            return  # judged when the probation has ended

    def _watch(self, probation: Probation) -> None:
        why = probation.verdict(self._parts.vitals(), self._parts.clock.monotonic())
        if why is None:
            return
        if why:
            self._fail(probation.order, why)
        else:
            self._parts.store.commit(probation.order)
            _log.info("settings %d are kept", probation.order.config_seq)
            self._probation = None
            self._go(ConfigEvent.KEPT)
            self._rest()

    def _fail(self, order: ConfigOrder, why: str) -> None:
        _log.info("settings %d are rolled back: %s", order.config_seq, why)
        self._parts.store.roll_back(order, why[:_MAX_REASON_CHARS])
        self._probation = None
        self._go(ConfigEvent.FAILED)
        try:
            self._rest()
        finally:
            self._leave()

    def _leave(self) -> None:
        self._leaving = True
        self._parts.control.restart()

    def _go(self, event: ConfigEvent) -> None:
        self._state = step(self._state, event)

    # Reports

    def _say(self, order: ConfigOrder | None, reason: str = "") -> None:
        in_force = self._parts.store.in_force()
        self._parts.report.settings(
            digest="" if self._parts.control.problem() else settings_digest(in_force.settings if in_force else ""),
            state=self._state.value,
            deployment=order.deployment if order else "",
            reason=reason[:_MAX_REASON_CHARS],
            config_seq=order.config_seq if order else 0,
        )

    def _rest(self) -> None:
        """Report how the last change ended, and let the update loop have what was kept from it."""
        self._unsaid = True
        self._parts.inbox.hold(False)
        last, problem = self._parts.store.last(), self._parts.control.problem()
        if last is None:
            self._say(None)
        else:
            self._state = ConfigState.COMMITTED if last.kept and not problem else ConfigState.ROLLED_BACK
            self._say(last.order, problem or last.reason)
        self._unsaid = False
