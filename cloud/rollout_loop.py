"""Rollouts carried out: orders signed and sent, reports judged, bad releases taken back (DESIGN 7)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

import msgspec

from cloud.desired_post import DesiredPost
from cloud.order_maker import OrderMaker
from cloud.order_renewal import OrderRenewal
from cloud.ports.configurations import ConfigurationBook
from cloud.ports.link import Link
from cloud.ports.registry import OrderSigner, Releases, VersionStages
from cloud.ports.rollout_evidence import EvidenceSource
from cloud.ports.rollouts import Rollout, RolloutBook
from cloud.ports.stations import StationBook, StationStatus
from cloud.rollout.evidence import read_evidence
from cloud.rollout.plan import RolloutPlan, read_plan
from cloud.rollout.rollout_states import FORWARD, RolloutEvent, RolloutState
from cloud.rollout.settings import RolloutSettings
from cloud.rollout_backward import RolloutBackward
from cloud.rollout_forward import RolloutForward
from cloud.rollout_gates import RolloutGates, check_second_person
from cloud.rollout_reports import HeardSince
from cloud.rollout_start import RolloutStart
from cloud.rollout_watch import RolloutWatch
from contract.errors import IllegalTransition, NotFound, RefusedError, TransientError
from contract.messages import DesiredState

__all__ = ["RolloutLoop", "RolloutSettings"]

_log = logging.getLogger(__name__)

# Who was away when a rollout ended is heard when it comes back: nobody waits for that.
_LATE_EVERY_S = 30.0


class RolloutLoop:
    """Starts, advances and stops rollouts. `tick` is called by one thread; everything else by any."""

    def __init__(
        self,
        *,
        rollouts: RolloutBook,
        stations: StationBook,
        releases: Releases,
        signer: OrderSigner,
        link: Link,
        settings: RolloutSettings,
        now: Callable[[], float],
        configurations: ConfigurationBook | None = None,
        order_keys: Callable[[], str] = lambda: "",
        stages: VersionStages | None = None,
        why_held: Callable[[], str] = lambda: "",
        evidence: EvidenceSource | None = None,
        why_lost: Callable[[], str] = str,
        reached: Callable[[StationStatus], StationStatus] = lambda said: said,
    ) -> None:
        """`order_keys` returns the signed order keys that stations shall know, "" for those they were provisioned with. `why_held`
        says why releases wait just now, "" where they do not (`cloud.ports.promises.Promises`). `evidence`: where the stations'
        decisions are read, without which a rollout is judged by failures alone. `why_lost` says why nothing can be stored just now,
        "" while it can. `reached` returns a status with what is known of a link beside the broker (`cloud.heard_by_http`).
        """
        self._rollouts, self._stations, self._stages = rollouts, stations, stages
        self._link, self._settings, self._now, self._why_lost = link, settings, now, why_lost
        self._reached = reached
        orders = OrderMaker(rollouts=rollouts, releases=releases, signer=signer, settings=settings, now=now)
        self._orders = orders
        self._renewal = OrderRenewal(rollouts=rollouts, orders=orders, now=now)
        self._post = DesiredPost(rollouts=rollouts, configurations=configurations, order_keys=order_keys, link=link)
        self._start = RolloutStart(
            rollouts=rollouts, stations=stations, releases=releases, settings=settings, now=now, stages=stages
        )
        self._gates = RolloutGates(rollouts=rollouts, why_held=why_held)
        self._forward = RolloutForward(
            rollouts=rollouts,
            orders=orders,
            gates=self._gates,
            watch=RolloutWatch(evidence, now),
            now=now,
            standard=settings.plan,
        )
        self._backward = RolloutBackward(rollouts=rollouts, releases=releases, orders=orders, now=now)
        self._seen_connections = 0
        self._since = HeardSince(now(), now())
        self._late_at, self._told = -math.inf, False

    def plan(self) -> RolloutPlan:
        """Return the plan of a rollout of which nobody asks anything else; change what is asked with msgspec.structs.replace."""
        return self._settings.plan()

    def start(
        self,
        version: str,
        changed: tuple[str, ...],
        actor: str,
        *,
        plan: RolloutPlan | None = None,
        reason: str = "",
    ) -> int:
        """Start a rollout of a released version and return its id; it waits for approvals where its plan asks for some.

        Args:
            version: a released version, or an alias of one.
            changed: stations whose decisions it is meant to change: they come last and are not held to agreement.
            actor: who asked, for the audit log; they cannot approve it.
            plan: `plan()`, with what the person asked for; None: as it is.
            reason: why, in their words.
        Raises:
            NotFound: no such version, or no such cohort.
            RefusedError: another rollout is under way, there is no station, the version was retired or must never run again, or the
                plan cannot be carried out.
        """
        return self._start.release(version, changed, actor, plan, reason)

    def roll_back(self, version: str, actor: str, reason: str) -> int:
        """Order an older released version for everybody at once, under new orders (OTA-3), and return the rollout's id.

        It has no canary and needs no approvals; stations keep it as soon as it loads. Failures are recorded and stop nothing.

        Raises:
            NotFound: no such version.
            RefusedError: another rollout is under way, there is no station, the version never ran here, was retired or must never
                run again.
        """
        return self._start.rollback(version, actor, reason)

    def start_ab(self, version: str, share: float, actor: str, *, until: float, reason: str = "") -> int:
        """Hold two bundles side by side: `share` of each stratum gets `version` (arm "b"), the others stay with what most run.

        It lasts until somebody concludes it; at `until`, Unix seconds, the control is kept by itself. No other rollout can be
        started meanwhile. Returns the rollout's id.

        Raises:
            NotFound: no such version.
            RefusedError: as for `start`; or there is nothing to compare with, no way back to it, or an arm would be empty.
        """
        return self._start.side_by_side(version, share, actor, until, reason)

    def conclude_ab(self, rollout: int, keep: str, actor: str, reason: str) -> None:
        """End an A/B rollout: keep "a" orders arm "b" back, keep "b" rolls the new version out to the rest.

        Raises:
            NotFound: no such rollout.
            RefusedError: it is no A/B rollout under way, was concluded before, `keep` is neither, or who keeps "b" is who asked
                for it where another person must agree.
        """
        found = self._rollouts.get(rollout)
        plan = read_plan(found.plan)
        if found.kind == "ab" and found.state is RolloutState.PROPOSED:
            why = f"rollout {rollout} has not begun: it waits for approvals, of a comparison and of nothing else"
            raise RefusedError(why, hint="abort it, or approve it first")
        if found.kind != "ab" or found.state not in FORWARD:
            raise RefusedError(
                f"rollout {rollout} is no A/B rollout under way", hint="list them: plumbline-cloud rollout list"
            )
        if keep not in ("a", "b"):
            raise RefusedError(
                f"an A/B rollout keeps 'a' or 'b', not '{keep}'", hint="a: the control; b: the new version"
            )
        if plan.keep:
            raise RefusedError(
                f"rollout {rollout} was concluded before: '{plan.keep}' is kept", hint="look at it again"
            )
        if keep == "b":
            check_second_person(found, plan, actor)
        new = msgspec.structs.replace(plan, keep=keep)
        kept = f"keeps {keep}, {plan.control if keep == 'a' else found.version}: {reason}"
        self._rollouts.replan(found, new.encode(), actor, "conclude A/B", kept, self._now())

    def approve(self, rollout: int, person: str, approved: bool, note: str = "") -> None:
        """Record what a person says to a rollout that waits for approvals; a decline holds it until they approve.

        Raises:
            NotFound: no such rollout.
            RefusedError: it waits for none, they asked for it themselves, or said just that before.
        """
        self._gates.say(self._rollouts.get(rollout), person, approved, note, self._now())

    def pause(self, rollout: int, actor: str, reason: str) -> None:
        """Order nobody any more until somebody resumes it; stations are heard, and it may still stop by itself.

        Raises:
            NotFound: no such rollout.
            IllegalTransition: it is not running.
        """
        hold = f"paused by {actor}: {reason}" if reason else f"paused by {actor}"
        self._step(rollout, RolloutEvent.PAUSE, actor, reason, hold)

    def resume(self, rollout: int, actor: str) -> None:
        """Go on with a rollout that was paused.

        Raises:
            NotFound: no such rollout.
            IllegalTransition: it is not paused.
        """
        self._rollouts.step(self._rollouts.get(rollout), RolloutEvent.RESUME, actor, "", self._now())

    def abort(self, rollout: int, actor: str, reason: str) -> None:
        """Stop a rollout; stations that took its bundle are ordered back by the next ticks.

        Raises:
            NotFound: no such rollout.
            IllegalTransition: it is over.
        """
        self._step(rollout, RolloutEvent.ABORT, actor, reason)

    def stop_station(self, station: str, actor: str, reason: str) -> None:
        """Order a station to run no bundle: every frame is REVIEW until another order.

        Any thread may ask. No image key is needed to stop something. A rollout goes on without the station; in one that is being
        aborted it is stopped in the place of going back.

        Raises:
            TransientError: another order went out in the same moment.
        """
        name = f"stop-{self._rollouts.next_seq(station)}-{station}"[:64]
        self._rollouts.order_apart(self._orders.way_back(station, "", name), actor, "stop station", reason, self._now())

    def tick(self) -> None:
        """Take every rollout one step further and send what the broker has not taken yet.

        What one rollout fails on keeps neither the others nor the orders that stand from going on; it is raised at the end.
        """
        try:
            self._turn()
        except TransientError:
            # What stations said meanwhile is stored in a moment: who could not be noted is not silent.
            self._since = HeardSince(self._now(), self._now())
            raise

    def _turn(self) -> None:
        if (connections := self._link.connections()) != self._seen_connections:
            self._post.forget_sent()
            self._seen_connections = connections
            self._since = replace(self._since, broker=self._now())
        elif self._why_lost():
            # Who cannot be noted is not silent: a file that was moved away can be read all the time.
            self._since = HeardSince(self._now(), self._now())
        elif not self._link.connected():
            # Nor who cannot be heard; by HTTP one can be all the same.
            self._since = replace(self._since, broker=self._now())
        status = {s.station: self._reached(s) for s in self._stations.status()}
        failed: Exception | None = None
        for rollout in self._rollouts.live():
            try:
                self._go_on(rollout, status)
            except Exception as error:  # noqa: BLE001  raised again below, when the others had their turn
                failed = failed or error
        try:
            self._hear_late(status)
            self._tell_stages()
        except Exception as error:  # noqa: BLE001  likewise
            failed = failed or error
        self._renewal.look(status)
        self._post.publish(status)
        if failed is not None:
            raise failed

    def desired_of(self, station: str) -> DesiredState:
        """Return what a station is told: what the broker retains for it. Any thread may ask."""
        return self._post.desired_of(station)

    def _step(self, rollout: int, event: RolloutEvent, actor: str, reason: str, hold: str = "") -> None:
        """Halt a rollout. Where its next wave began in the same moment, it is that wave which is halted."""
        found = self._rollouts.get(rollout)
        while True:
            try:
                self._rollouts.step(found, event, actor, reason, self._now(), hold=hold)
                return
            except IllegalTransition:
                newer = self._rollouts.get(rollout)
                if (newer.state, newer.wave, newer.plan) == (found.state, found.wave, found.plan):
                    raise
                found = newer

    def _go_on(self, rollout: Rollout, status: dict[str, StationStatus]) -> None:
        if rollout.state is RolloutState.ABORTING:
            self._backward.bring_back(rollout, self._forward.hear(rollout, status), status)
        elif self._forward.go_on(rollout, status, self._since):
            self._told, self._late_at = False, -math.inf

    def _hear_late(self, status: dict[str, StationStatus]) -> None:
        """Hear who was away when its rollout ended. What a station says so late is recorded, and ends nothing."""
        if 0.0 <= self._now() - self._late_at < _LATE_EVERY_S:
            return
        self._late_at = self._now()
        late = self._rollouts.late()
        retired = self._stations.retired() if late else frozenset()
        for rollout in late:
            self._backward.hear_late(rollout, self._forward.hear(rollout, status), status, retired)

    def _tell_stages(self) -> None:
        """Have the registry know which version reached everybody last: once, whenever the process ended in between."""
        if self._told or self._stages is None:
            return
        reached = [r for r in self._rollouts.done() if not read_plan(r.plan).cohort]
        if reached and not (evidence := read_evidence(reached[-1].evidence)).told:
            newest = reached[-1]
            if self._champion() != newest.version:
                try:
                    self._stages.rolled_out(newest.version, newest.author or "plumbline", self._now())
                except IllegalTransition as error:
                    # Retired in the same moment: it is nobody's champion, and that will not change by itself.
                    _log.warning("%s reached everybody and is no champion: %s", newest.version, error.one_line())
            told = msgspec.structs.replace(evidence, told=True)
            self._rollouts.note(newest, hold="", evidence=told.encode())
        self._told = True

    def _champion(self) -> str:
        assert self._stages is not None
        try:
            return self._stages.resolve("champion")
        except NotFound:
            return ""
