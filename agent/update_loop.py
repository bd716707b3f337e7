"""The update line: order -> image repository -> download -> slot -> self-test -> trial -> commit or roll back (DESIGN 6).

One thread drives `UpdateLoop.run`; everything it touches is a port. Between two ticks the process may be killed: what must
survive is on the disk before the next step begins (persist the intent, do an idempotent effect, persist the outcome).
A report is a statement about the disk, made after it, and changes nothing when it cannot be sent (OTA-5).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from agent.image_fetch import Found, ImageFetch
from agent.order_desk import OrderDesk
from agent.ports.clock import Clock
from agent.ports.orders import OrderInbox, Report
from agent.ports.slots import BundleSwitch, InstalledBundle, Trial, TrialOutcome, TrialPhase
from agent.ports.update import FloorStore, SelfTester, SlotStore
from agent.update import floors as floor_rules
from agent.update.backoff import full_jitter_s
from agent.update.reported import at_rest, under_way
from agent.update.trust import Acceptance, check_release_counter
from contract.errors import BadOrder, PlumblineError, RefusedError, TransientError
from contract.messages import DesiredState, Order, ReportedState
from contract.signature import OrderKey
from contract.update_states import MAX_TRIES, UpdateEvent, UpdateState, step

_log = logging.getLogger(__name__)

MAX_REFUSALS = 5
"""How often the server may refuse (404, bad hash, metadata that does not hold) before an order is given up."""

_OUTCOME_GRACE_S = 60.0
_TELL_EVERY_S = 120.0
_TICK_S = 1.0


@dataclass(slots=True)
class _Work:
    """The update under way; what of it must survive a restart is in the slots' state file."""

    order: Order
    state: UpdateState
    attempts: int = 0
    refusals: int = 0
    not_before: float = 0.0
    found: Found | None = None
    bundle: InstalledBundle | None = None
    offered: bool = False
    outcome: TrialOutcome | None = None
    outcome_due: float = 0.0
    told_s: float = 0.0


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
        self._station, self._boot = station, boot
        self._desk = OrderDesk(station, keys, inbox=inbox, slots=slots, floors=floors, clock=clock)
        self._report, self._images = report, images
        self._slots, self._floors, self._selftest, self._switch = slots, floors, selftest, switch
        self._clock, self._roll = clock, roll
        self._work: _Work | None = None
        self._unsaid = False  # a disk that failed kept a report at rest from being made
        self.faults = 0
        """Errors that nothing here foresaw, counted by the outermost guard."""

    @property
    def refused_orders(self) -> int:
        """Orders that were not followed."""
        return self._desk.refused

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; the body of the update thread."""
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
        mark, trial = self._slots.committed(), self._slots.trial()
        if mark is not None and mark.order is not None:
            # Power may have been lost between the commit and its floors.
            self._raise_floors(mark.order)
        if trial is None:
            self._slots.collect_garbage()
            self._report_rest()
            return
        work = self._work = _Work(trial.order, UpdateState.IDLE)
        if trial.tries >= MAX_TRIES:
            self._fail(work, f"the station stopped {trial.tries} times during the trial")
            return
        work.bundle = self._slots.staged(trial.order.bundle)
        # A slot that rotted is the disk's fault and not the bundle's: it is fetched again, and its tries stay counted.
        if work.bundle is not None:
            self._go(work, UpdateEvent.RESTARTED)

    def tick(self, within_s: float) -> None:
        """Do one step of the update under way, or wait at most `within_s` for something to do."""
        try:
            self._tick(within_s)
        except TransientError as error:
            # Between two updates the disk did not give what an order is judged by, or a report is made of: later, then.
            _log.warning("the update loop waits for the disk: %s", error.one_line())
            self._unsaid = True
            self._clock.sleep(within_s)

    def _tick(self, within_s: float) -> None:
        if self._unsaid and self._work is None:
            self._report_rest()
            self._unsaid = False
        work = self._work
        if work is None or work.state is UpdateState.IDLE:
            wait_s = within_s if work is None else self._pause_s(work, within_s)
        else:
            # A trial waits for its outcome below; everything else for the server, or for the disk.
            wait_s = 0.0 if work.offered else self._pause_s(work, within_s)
        desired = self._desk.take(wait_s)
        if desired is not None:
            try:
                self._consider(desired)
            except TransientError:
                self._desk.put_back(desired)
                raise
            work = self._work
        if work is not None and (work.offered or self._clock.monotonic() >= work.not_before):
            self._attempt(work, within_s)

    def _pause_s(self, work: _Work, within_s: float) -> float:
        return min(max(work.not_before - self._clock.monotonic(), 0.0), within_s)

    # Orders

    def _consider(self, desired: DesiredState) -> None:
        if not desired.envelope:
            return  # no order yet
        work = self._work
        try:
            acceptance, order = self._desk.judge(desired, work.order if work else None)
        except BadOrder as error:
            self._tell_refusal(self._desk.refuse(error))
            return
        if acceptance is Acceptance.UNDER_WAY:
            return  # delivered again while being followed
        if acceptance is Acceptance.REPEATED:
            self._report_rest()
            return
        if work is not None:
            _log.info("order %d supersedes %d", order.desired_seq, work.order.desired_seq)
            self._supersede(work)
        self._work = _Work(order, UpdateState.IDLE)

    def _supersede(self, work: _Work) -> None:
        if work.offered:
            self._slots.withdraw_trial()
            self._switch.withdraw(work.order.deployment, work.order.bundle)
        elif self._slots.trial() is not None:
            self._slots.withdraw_trial()  # of a process before this one
        work.state = step(work.state, UpdateEvent.SUPERSEDED)

    def _tell_refusal(self, said: str) -> None:
        last = self._slots.last()
        if not said:
            return
        if self._work is not None:
            self._report_work(self._work, said)
        elif last is None or last.kept:
            self._report_rest(said)
        else:
            self._report_rest()  # a roll-back says more than the refusal that repeats it

    # One update

    def _attempt(self, work: _Work, within_s: float) -> None:
        try:
            try:
                self._advance(work, within_s)
            except RefusedError as error:
                work.refusals += 1
                fetching = work.state in (UpdateState.META, UpdateState.DOWNLOAD)
                if fetching and work.refusals < MAX_REFUSALS:
                    self._wait(work, error)  # a mirror may lag behind its order, or heal
                else:
                    self._fail(work, error.one_line())
        except TransientError as error:
            self._wait(work, error)

    def _advance(self, work: _Work, within_s: float) -> None:
        if work.state is UpdateState.IDLE:
            self._begin(work)
        elif work.state is UpdateState.META:
            self._look_up(work)
        elif work.state is UpdateState.DOWNLOAD:
            self._fetch(work)
        elif work.state is UpdateState.STAGED:
            check_release_counter(_bundle(work).manifest, work.order, self._floors.read())
            self._go(work, UpdateEvent.SELFTEST_STARTED)
        elif work.state is UpdateState.SELFTEST:
            reason = self._selftest.run(_bundle(work).folder)
            if reason:
                self._fail(work, f"self-test: {reason}")
            else:
                self._go(work, UpdateEvent.SELFTEST_PASSED)
        elif not work.offered:
            self._offer(work)
        else:
            self._await_outcome(work, within_s)

    def _begin(self, work: _Work) -> None:
        if not work.order.bundle:
            self._commit(work, UpdateEvent.NOTHING_TO_RUN, 0, 0)
            self._switch.recall(None)
            return
        running = self._slots.boot_bundle()
        if running is not None and running.digest == work.order.bundle:
            # Nothing to install: the order only moves what this station stands for (an abort, for one). Its word alone must
            # not raise a floor above every bundle there is (P3).
            check_release_counter(running.manifest, work.order, self._floors.read())
            work.bundle = running
            self._commit(work, UpdateEvent.ALREADY_RUNNING, 0, 0)
        else:
            self._go(work, UpdateEvent.ORDER_ACCEPTED)

    def _look_up(self, work: _Work) -> None:
        order = work.order
        work.found = self._images.look_up(order, floor_rules.effective_now(self._floors.read(), self._clock.now()))
        work.bundle = self._slots.staged(order.bundle)
        if work.bundle is None:
            self._slots.collect_garbage()
        self._go(work, UpdateEvent.TARGET_FOUND if work.bundle is None else UpdateEvent.ALREADY_STAGED)

    def _fetch(self, work: _Work) -> None:
        assert work.found is not None  # the table leads here from META alone
        work.bundle = self._images.fetch(work.found, work.order.bundle, self._desk.newer_waits)
        if work.bundle is not None:
            self._go(work, UpdateEvent.INSTALLED)  # else a newer order waits to be looked at

    def _offer(self, work: _Work) -> None:
        bundle, probation = _bundle(work), work.order.probation
        mark = self._slots.committed()
        if mark is None or not mark.digest:
            # The first bundle has nobody to agree with: it is kept for running well.
            probation = msgspec.structs.replace(probation, min_agreement=0.0)
        tries = self._slots.begin_try(work.order)  # OTA-4: counted before anything loads it
        _log.info("bundle %s on trial, try %d of %d", bundle.digest[:12], tries, MAX_TRIES)
        self._switch.offer(Trial(bundle, work.order.deployment, probation))
        work.outcome_due = self._clock.monotonic() + probation.timeout_s + probation.serve_s + _OUTCOME_GRACE_S
        work.offered = True

    def _await_outcome(self, work: _Work, within_s: float) -> None:
        pause_s = self._pause_s(work, within_s)
        if pause_s:
            self._clock.sleep(pause_s)  # an outcome is here, the disk was not ready to keep it
            return
        if work.outcome is None:
            outcome = self._switch.next_outcome(within_s)
            self._hear_news(work)
            if outcome is not None and _is_of(work, outcome.deployment, outcome.bundle):
                work.outcome = outcome
            elif self._clock.monotonic() > work.outcome_due:
                self._fail(work, "the trial came to no end within its time")
                return
            else:
                return
        outcome = work.outcome
        if outcome.kept:
            if work.state is UpdateState.TRIAL:
                self._go(work, UpdateEvent.IN_CHARGE)
            self._commit(work, UpdateEvent.KEPT, outcome.frames, outcome.agreed)
        else:
            self._fail(work, outcome.reason, outcome.frames, outcome.agreed)

    def _hear_news(self, work: _Work) -> None:
        news = self._switch.news()
        if news is None or not _is_of(work, news.deployment, news.bundle):
            return
        now_s = self._clock.monotonic()
        # A degraded station holds its trial: its own word on how long it may still take counts.
        work.outcome_due = now_s + news.left_s + _OUTCOME_GRACE_S
        if news.phase is TrialPhase.IN_CHARGE and work.state is UpdateState.TRIAL:
            self._go(work, UpdateEvent.IN_CHARGE)
        elif now_s - work.told_s >= _TELL_EVERY_S:
            # A rollout takes silence for failure, and a probation may last for hours.
            self._report_work(work)

    def _commit(self, work: _Work, event: UpdateEvent, frames: int, agreed: int) -> None:
        self._slots.commit(work.order, frames=frames, agreed=agreed)
        self._raise_floors(work.order)  # OTA-4: only after the commit
        work.state = step(work.state, event)
        self._rest()

    def _fail(self, work: _Work, reason: str, frames: int = 0, agreed: int = 0) -> None:
        _log.warning("bundle %s rolled back: %s", work.order.bundle[:12], reason)
        if work.offered:
            # Whatever it has come to meanwhile, it is in charge no more.
            self._switch.withdraw(work.order.deployment, work.order.bundle)
        self._slots.roll_back(work.order, reason, frames=frames, agreed=agreed)
        if work.found is not None:
            self._images.give_up(work.found, work.order.bundle)
        work.state = step(work.state, UpdateEvent.FAILED)
        self._rest()

    def _rest(self) -> None:
        self._work = None
        self._report_rest()
        self._slots.collect_garbage()

    def _go(self, work: _Work, event: UpdateEvent) -> None:
        work.state = step(work.state, event)
        work.attempts, work.not_before = 0, 0.0
        self._report_work(work)

    def _wait(self, work: _Work, error: PlumblineError) -> None:
        work.attempts += 1
        wait_s = full_jitter_s(work.attempts, self._roll())
        work.not_before = self._clock.monotonic() + wait_s
        _log.info("update in %s tries again in %.1f s: %s", work.state.value, wait_s, error.one_line())
        self._report_work(work, error.one_line())

    def _raise_floors(self, order: Order) -> None:
        self._floors.write(floor_rules.raise_order(self._floors.read(), order))

    # Reports

    def _report_rest(self, reason: str = "") -> None:
        mark, last = self._slots.committed(), self._slots.last()
        self._publish(at_rest(self._station, self._boot, self._clock.now(), mark, last, reason))

    def _report_work(self, work: _Work, reason: str = "") -> None:
        work.told_s = self._clock.monotonic()
        mark, now = self._slots.committed(), self._clock.now()
        self._publish(under_way(self._station, self._boot, now, mark, work.order, work.state, reason))

    def _publish(self, reported: ReportedState) -> None:
        try:
            self._report.publish(reported)
        except PlumblineError as error:
            # OTA-5: what is on the disk stands whether or not anybody could be told.
            _log.warning("the report of %s was not taken: %s", reported.update_state, error.one_line())


def _bundle(work: _Work) -> InstalledBundle:
    if work.bundle is None:
        raise BadOrder(f"bundle {work.order.bundle[:12]} is in no slot")
    return work.bundle


def _is_of(work: _Work, deployment: str, bundle: str) -> bool:
    return (work.order.deployment, work.order.bundle) == (deployment, bundle)
