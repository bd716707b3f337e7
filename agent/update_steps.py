"""One update, step by step: look up, fetch, install, self-test, trial, then commit, roll back or put away (DESIGN 6).

Between two steps the process may be killed: what must survive is on the disk before the next one begins (persist the intent, do
an idempotent effect, persist the outcome).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from agent.image_fetch import Found, ImageFetch
from agent.ports.clock import Clock
from agent.ports.slots import BundleSwitch, InstalledBundle
from agent.ports.update import FloorStore, SelfTester, SlotStore
from agent.trial_desk import TrialDesk
from agent.update import floors as floor_rules
from agent.update.backoff import BASE_S, CAP_S, full_jitter_s
from agent.update.trust import check_release_counter
from agent.update_reports import UpdateReports
from contract.errors import BadOrder, PlumblineError, RefusedError, TransientError
from contract.messages import Order
from contract.update_states import MAX_TRIES, UpdateEvent, UpdateState, step

_log = logging.getLogger(__name__)

MAX_REFUSALS = 5
"""How often the server may refuse (404, bad hash, metadata that does not hold) before an order is given up."""

_TELL_EVERY_S = 120.0
_REFUSED_BASE_S = 60.0


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


class UpdateSteps:
    """The update under way, if one is. One thread's.

    Args:
        roll: draws uniformly from 0..1, for the jitter of retries.
        breaks_off: whether a fetch is to end, since the station stops or a newer order waits.
    """

    def __init__(
        self,
        *,
        reports: UpdateReports,
        images: ImageFetch,
        slots: SlotStore,
        floors: FloorStore,
        selftest: SelfTester,
        switch: BundleSwitch,
        clock: Clock,
        roll: Callable[[], float],
        breaks_off: Callable[[], bool],
    ) -> None:
        self._reports, self._images = reports, images
        self._trial = TrialDesk(slots, switch, clock)
        self._slots, self._floors, self._selftest, self._switch = slots, floors, selftest, switch
        self._clock, self._roll, self._breaks_off = clock, roll, breaks_off
        self._work: _Work | None = None

    @property
    def order(self) -> Order | None:
        """The order that is being followed; None at rest."""
        return self._work.order if self._work else None

    def take_up(self) -> None:
        """Take up what a restart interrupted, and report where this station stands."""
        mark, trial = self._slots.committed(), self._slots.trial()
        if mark is not None and mark.order is not None:
            # Power may have been lost between the commit and its floors.
            self._raise_floors(mark.order)
        last = self._slots.last()
        if last is not None:
            self._floors.write(floor_rules.raise_seq(self._floors.read(), last.order))
        if trial is None:
            self._slots.collect_garbage()
            self._reports.rest()
            return
        work = self._work = _Work(trial.order, UpdateState.IDLE)
        if trial.tries >= MAX_TRIES:
            self._fail(work, f"the station stopped {trial.tries} times during the trial")
            return
        work.bundle = self._slots.staged(trial.order.bundle)
        # A slot that rotted is the disk's fault and not the bundle's: it is fetched again, and its tries stay counted.
        if work.bundle is not None:
            self._go(work, UpdateEvent.RESTARTED)

    def begin(self, order: Order) -> None:
        """Follow `order` from now on; the one under way, if any, is superseded."""
        if self._work is not None:
            _log.info("order %d supersedes %d", order.desired_seq, self._work.order.desired_seq)
            self._supersede(self._work)
        self._work = _Work(order, UpdateState.IDLE)

    def tell(self, reason: str) -> None:
        """Say how far the update under way is, and `reason`."""
        if self._work is not None:
            self._reports.work(self._work.order, self._work.state, reason)

    def wait_s(self, within_s: float) -> float:
        """Return how long, at most `within_s`, there is nothing to do."""
        if self._work is None:
            return within_s
        # A trial waits for its outcome in its own step; everything else for the server, or for the disk.
        return 0.0 if self._trial.under_way else self._pause_s(self._work, within_s)

    def go_on(self, within_s: float) -> None:
        """Do one step of the update under way, if it is due; a trial is listened to for at most `within_s`."""
        work = self._work
        if work is not None and (self._trial.under_way or self._clock.monotonic() >= work.not_before):
            self._attempt(work, within_s)

    def forgive(self) -> None:
        """Take back the try of a trial that this process ended as it should: a shut-down says nothing about a bundle.

        Call it once the thread has ended.
        """
        if self._trial.under_way:
            self._slots.forgive_try()

    def _pause_s(self, work: _Work, within_s: float) -> float:
        return min(max(work.not_before - self._clock.monotonic(), 0.0), within_s)

    def _supersede(self, work: _Work) -> None:
        if self._trial.under_way or self._slots.trial() is not None:  # or that of a process before this one
            self._slots.withdraw_trial()
            self._trial.withdraw()
        work.state = step(work.state, UpdateEvent.SUPERSEDED)

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
        elif not self._trial.under_way:
            self._trial.offer(work.order, _bundle(work))
        else:
            self._await_outcome(work, within_s)

    def _begin(self, work: _Work) -> None:
        if not work.order.bundle:
            self._commit(work, UpdateEvent.NOTHING_TO_RUN, 0, 0)
            return
        running = self._slots.boot_bundle()
        if running is not None and running.digest == work.order.bundle and work.order.probation.shadow_only:
            # It came by a kit meanwhile, say. Nothing is committed: this order puts nothing in charge and raises no floor.
            self._put_away(work, "it runs this bundle already: nothing to decide unseen beside it")
        elif running is not None and running.digest == work.order.bundle:
            # Nothing to install: the order only moves what this station stands for (an abort, for one). Its word alone must
            # not raise a floor above every bundle there is (P3).
            check_release_counter(running.manifest, work.order, self._floors.read())
            work.bundle = running
            if self._switch.judge() not in (None, running.digest):
                self._switch.recall(running)  # the line fell back from it: it is given another chance
            self._commit(work, UpdateEvent.ALREADY_RUNNING, 0, 0)
        else:
            self._go(work, UpdateEvent.ORDER_ACCEPTED)

    def _look_up(self, work: _Work) -> None:
        order = work.order
        work.found = self._images.look_up(order, self._clock.now())
        work.bundle = self._slots.staged(order.bundle)
        if work.bundle is None:
            self._slots.collect_garbage(for_another=True)
        self._go(work, UpdateEvent.TARGET_FOUND if work.bundle is None else UpdateEvent.ALREADY_STAGED)

    def _fetch(self, work: _Work) -> None:
        assert work.found is not None  # the table leads here from META alone
        work.bundle = self._images.fetch(work.found, work.order.bundle, self._breaks_off)
        if work.bundle is not None:
            self._go(work, UpdateEvent.INSTALLED)  # else a newer order waits to be looked at, or the station stops

    def _await_outcome(self, work: _Work, within_s: float) -> None:
        pause_s = self._pause_s(work, within_s)
        if pause_s:
            self._clock.sleep(pause_s)  # an outcome is here, the disk was not ready to keep it
            return
        outcome = self._trial.listen(within_s)
        if work.state is UpdateState.TRIAL and (self._trial.in_charge or (outcome is not None and outcome.kept)):
            self._go(work, UpdateEvent.IN_CHARGE)
        if outcome is None:
            if self._reports.quiet_s() >= _TELL_EVERY_S:
                # A rollout takes silence for failure, and a probation may last for hours.
                self._reports.work(work.order, work.state)
        elif outcome.shadowed:
            agreed = f"{outcome.agreed} of them as the bundle in charge"
            self._put_away(work, f"decided {outcome.frames} frames unseen, {agreed}", outcome.frames, outcome.agreed)
        elif outcome.kept:
            self._commit(work, UpdateEvent.KEPT, outcome.frames, outcome.agreed)
        else:
            self._fail(work, outcome.reason, outcome.frames, outcome.agreed)

    def _commit(self, work: _Work, event: UpdateEvent, frames: int, agreed: int) -> None:
        self._slots.commit(work.order, frames=frames, agreed=agreed)
        if not work.order.bundle:
            self._switch.recall(None)  # first of all that follows: the old one must not pass another part
        self._raise_floors(work.order)  # OTA-4: only after the commit
        self._trial.close()
        work.state = step(work.state, event)
        self._rest()

    def _fail(self, work: _Work, reason: str, frames: int = 0, agreed: int = 0) -> None:
        _log.warning("bundle %s rolled back: %s", work.order.bundle[:12], reason)
        self._slots.roll_back(work.order, reason, frames=frames, agreed=agreed)
        # What is older than an order that failed was taken back before it: a replay of it must not win.
        self._floors.write(floor_rules.raise_seq(self._floors.read(), work.order))
        if work.found is not None:
            self._images.give_up(work.found, work.order.bundle)
        self._trial.withdraw()
        work.state = step(work.state, UpdateEvent.FAILED)
        self._rest()

    def _put_away(self, work: _Work, reason: str, frames: int = 0, agreed: int = 0) -> None:
        self._slots.put_away(work.order, reason, frames=frames, agreed=agreed)
        self._floors.write(floor_rules.raise_seq(self._floors.read(), work.order))
        self._trial.close()
        work.state = step(work.state, UpdateEvent.SHADOWED)
        self._rest()

    def _rest(self) -> None:
        self._work = None
        self._reports.rest()
        self._slots.collect_garbage()

    def _go(self, work: _Work, event: UpdateEvent) -> None:
        work.state = step(work.state, event)
        work.attempts, work.not_before = 0, 0.0
        self._reports.work(work.order, work.state)

    def _wait(self, work: _Work, error: PlumblineError) -> None:
        work.attempts += 1
        # Anybody on the way can answer 404 or with a portal's page: a few seconds of that must not use up an order.
        base_s = BASE_S if error.retry else _REFUSED_BASE_S
        wait_s = full_jitter_s(work.attempts, self._roll(), base_s=base_s, cap_s=max(CAP_S, 30 * base_s))
        work.not_before = self._clock.monotonic() + wait_s
        _log.info("update in %s tries again in %.1f s: %s", work.state.value, wait_s, error.one_line())
        self._reports.work(work.order, work.state, error.one_line())

    def _raise_floors(self, order: Order) -> None:
        self._floors.write(floor_rules.raise_order(self._floors.read(), order))


def _bundle(work: _Work) -> InstalledBundle:
    if work.bundle is None:
        raise BadOrder(f"bundle {work.order.bundle[:12]} is in no slot")
    return work.bundle
