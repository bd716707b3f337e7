"""Rollouts carried out: orders signed and sent, reports judged, bad releases taken back (DESIGN 7)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from cloud.desired_post import DesiredPost
from cloud.order_maker import OrderMaker
from cloud.order_renewal import OrderRenewal
from cloud.ports.configurations import ConfigurationBook
from cloud.ports.link import Link
from cloud.ports.registry import OrderSigner, Release, Releases
from cloud.ports.rollouts import Rollout, RolloutBook, RolloutMember
from cloud.ports.stations import StationBook, StationStatus
from cloud.rollout.cohort import plan_waves
from cloud.rollout.judge import Member, StepKind, next_step
from cloud.rollout.rollout_states import MemberEvent, MemberState, RolloutEvent, RolloutState
from cloud.rollout.settings import RolloutSettings
from cloud.rollout.way_back import MOST_RECALLS, WayBack, recall_name, recalls, way_back
from contract.errors import RefusedError
from contract.messages import DesiredState
from contract.update_states import UpdateState

__all__ = ["RolloutLoop", "RolloutSettings"]

_log = logging.getLogger(__name__)


class RolloutLoop:
    """Starts, advances and stops rollouts. `tick` is called by one thread; `start` and `abort` by any."""

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
    ) -> None:
        """`order_keys` returns the signed order keys that stations shall know, "" for those they were provisioned with."""
        self._rollouts, self._stations, self._releases = rollouts, stations, releases
        self._link, self._settings, self._now = link, settings, now
        self._orders = OrderMaker(rollouts=rollouts, releases=releases, signer=signer, settings=settings, now=now)
        self._renewal = OrderRenewal(rollouts=rollouts, orders=self._orders, now=now)
        self._post = DesiredPost(rollouts=rollouts, configurations=configurations, order_keys=order_keys, link=link)
        self._seen_connections = 0
        self._linked_at = now()

    def start(self, version: str, changed: tuple[str, ...], actor: str) -> int:
        """Start a rollout of a released version to every station and return its id.

        Args:
            version: a released version.
            changed: stations whose decisions it is meant to change: they come last and are not held to agreement.
            actor: who asked, for the audit log.
        Raises:
            NotFound: no such version.
            RefusedError: another rollout is under way, there is no station, or the version must never run again.
        """
        release = self._releases.get(version)
        least = max((each.release_counter for each in self._rolled_out()), default=0)
        if release.release_counter < least:
            # OTA-3: stations that committed a release of this epoch refuse whatever is older.
            raise RefusedError(
                f"version '{version}' has release counter {release.release_counter}, and {least} was rolled out",
                hint="versions of that age must never run again; release its run anew to get its bytes back",
            )
        waves = plan_waves(self._stations.names(), changed, self._settings.wave_shares)
        return self._rollouts.create(version, release.digest, waves, changed, actor, self._now())

    def abort(self, rollout: int, actor: str, reason: str) -> None:
        """Stop a rollout; stations that took its bundle are ordered back by the next ticks.

        Raises:
            NotFound: no such rollout.
            IllegalTransition: it is over.
        """
        self._rollouts.step(self._rollouts.get(rollout), RolloutEvent.ABORT, actor, reason, self._now())

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
        if (connections := self._link.connections()) != self._seen_connections:
            self._post.forget_sent()
            self._seen_connections = connections
            self._linked_at = self._now()
        elif not self._link.connected():
            self._linked_at = self._now()  # who cannot be heard is not silent
        status = {s.station: s for s in self._stations.status()}
        failed: Exception | None = None
        for rollout in self._rollouts.all():
            try:
                self._go_on(rollout, status)
            except Exception as error:  # noqa: BLE001  raised again below, when the others had their turn
                failed = failed or error
        self._renewal.look(status)
        self._post.publish(status)
        if failed is not None:
            raise failed

    def desired_of(self, station: str) -> DesiredState:
        """Return what a station is told: what the broker retains for it. Any thread may ask."""
        return self._post.desired_of(station)

    def _go_on(self, rollout: Rollout, status: dict[str, StationStatus]) -> None:
        if rollout.state is RolloutState.RUNNING:
            self._hear(rollout, status)
            self._advance(rollout, status)
        elif rollout.state is RolloutState.ABORTING:
            self._hear(rollout, status)
            self._bring_back(rollout, status)

    def _hear(self, rollout: Rollout, status: dict[str, StationStatus]) -> None:
        """Take over what the stations report of this rollout's deployments."""
        for member in self._rollouts.members(rollout.id):
            said = status.get(member.station)
            if said is None or said.deployment != member.deployment:
                continue
            # Whoever left the bundle after its commit is a failure while others are still to get it; an abort fetches it anyway.
            left = member.state is MemberState.COMMITTED and rollout.state is RolloutState.RUNNING
            if member.state is not MemberState.ORDERED and not left:
                continue
            if _turned_down(said, rollout.bundle):
                reason = f"it left the bundle after its commit: {said.reason}" if left else said.reason
                self._rollouts.step_member(member, MemberEvent.FAIL, reason, self._now())
            elif not left and said.update_state == UpdateState.COMMITTED.value and said.bundle == rollout.bundle:
                self._rollouts.step_member(member, MemberEvent.COMMIT, said.reason, self._now())

    def _advance(self, rollout: Rollout, status: dict[str, StationStatus]) -> None:
        members = self._rollouts.members(rollout.id)
        for member in members:
            if member.wave == rollout.wave and member.state is MemberState.PLANNED:
                self._order(rollout, member, status.get(member.station))
        now = self._now()
        seen = [self._as_seen(m, status.get(m.station), now) for m in self._rollouts.members(rollout.id)]
        step = next_step(seen, rollout.wave, self._settings.policy)
        if step.kind is StepKind.ADVANCE:
            self._rollouts.advance(rollout, now)
        elif step.kind is StepKind.FINISH:
            self._rollouts.step(rollout, RolloutEvent.ALL_WAVES_COMMITTED, "plumbline", step.why, now)
        elif step.kind is StepKind.ROLL_BACK:
            _log.warning("rollout %d of %s stops: %s", rollout.id, rollout.version, step.why)
            self._rollouts.step(rollout, RolloutEvent.ABORT, "plumbline", step.why, now)

    def _bring_back(self, rollout: Rollout, status: dict[str, StationStatus]) -> None:
        """Stop dispatch first, then order the former bundle for every station that was ordered the bad one.

        A station that rolled back by itself is ordered back too, so that its standing order no longer names the bad bundle.
        """
        now = self._now()
        for member in self._rollouts.members(rollout.id):
            said = status.get(member.station)
            if member.state is MemberState.PLANNED:
                self._rollouts.step_member(member, MemberEvent.SKIP, "the rollout was stopped", now)
            elif member.state in (MemberState.ORDERED, MemberState.COMMITTED, MemberState.FAILED):
                self._recall(rollout, member, said)
            elif member.state is MemberState.RECALLED:
                self._look_whether_back(rollout, member, said)
        members = self._rollouts.members(rollout.id)
        if all(self._is_over(m, status.get(m.station)) for m in members):
            self._rollouts.step(rollout, RolloutEvent.ALL_BACK, "plumbline", rollout.reason, now)

    def _rolled_out(self) -> list[Release]:
        """Return the releases that some station was ordered to run in a rollout that ended well."""
        done = [rollout.bundle for rollout in self._rollouts.all() if rollout.state is RolloutState.DONE]
        return [release for bundle in done if (release := self._releases.by_digest(bundle)) is not None]

    def _look_whether_back(self, rollout: Rollout, member: RolloutMember, said: StationStatus | None) -> None:
        back_to, now = member.previous_bundle, self._now()
        standing = self._rollouts.standing(member.station)
        if standing is None or not standing.envelope:
            self._rollouts.step_member(member, MemberEvent.RETURN, member.reason, now)  # nothing was ordered
            return
        if said is None:
            return
        if said.deployment == member.deployment and _turned_down(said, back_to):
            if (tries := recalls(member.deployment)) < MOST_RECALLS:
                _log.warning("%s turned down its way back: %s", member.station, said.reason)
                order = self._orders.way_back(member.station, back_to, recall_name(member.deployment))
                self._rollouts.recall(member, order, back_to, member.reason, now)
                return
            why = f"it turned down the way back {tries} times and runs '{said.bundle[:12]}': {said.reason}"
            self._rollouts.step_member(member, MemberEvent.RETURN, _both(member.reason, why), now)
            return
        # What it went back to by itself it may refuse to be ordered: an order that it committed has raised its floor.
        by_itself = _turned_down(said, rollout.bundle) and said.reported_at > (member.ordered_at or 0.0)
        if said.bundle == back_to and (said.deployment == member.deployment or by_itself):
            self._rollouts.step_member(member, MemberEvent.RETURN, member.reason or "back on the former bundle", now)
        elif said.bundle == rollout.bundle and self._way_back(rollout, member, said)[0] is WayBack.WITHDRAW:
            # It committed in the moment in which it was recalled, and what it committed allows of no way back.
            self._rollouts.step_member(
                member, MemberEvent.RETURN, _both(member.reason, self._way_back(rollout, member, said)[1]), now
            )

    @staticmethod
    def _is_over(member: RolloutMember, said: StationStatus | None) -> bool:
        if member.state in (MemberState.BACK, MemberState.SKIPPED):
            return True
        # A station that is away keeps its standing order and obeys it on its return; the fleet does not wait for it.
        return member.state is MemberState.RECALLED and (said is None or not said.online)

    def _order(self, rollout: Rollout, member: RolloutMember, said: StationStatus | None) -> None:
        agrees = member.station not in rollout.changed_stations
        order = self._orders.candidate(member.station, rollout.bundle, member.deployment, agrees=agrees)
        former = said.bundle if said else ""
        if former == rollout.bundle:
            # It has it from an earlier rollout: the way back leads to what ran before that.
            former = self._rollouts.former_bundle(member.station, former) or former
        self._rollouts.order(member, MemberEvent.ORDER, order, former, self._now())

    def _way_back(self, rollout: Rollout, member: RolloutMember, said: StationStatus | None) -> tuple[WayBack, str]:
        former, new = self._releases.by_digest(member.previous_bundle), self._releases.by_digest(rollout.bundle)
        here = said is not None and (said.online or said.state_at > (member.ordered_at or 0.0))
        return way_back(
            state=member.state,
            version=rollout.version,
            bundle=rollout.bundle,
            counter=None if new is None else new.release_counter,
            former=member.previous_bundle,
            former_counter=None if former is None else former.release_counter,
            runs_it=said is not None and said.bundle == rollout.bundle,
            heard=here,
        )

    def _recall(self, rollout: Rollout, member: RolloutMember, said: StationStatus | None) -> None:
        """Order a station back. It must not keep the others from going back: where that cannot be, it is said why."""
        way, why = self._way_back(rollout, member, said)
        reason = _both(member.reason, why)
        if way is WayBack.WITHDRAW:
            # Left standing, the bad order would be obeyed by a station that was away, whenever it comes back.
            self._rollouts.withdraw(member, reason, self._now())
            return
        back_to = member.previous_bundle if way is WayBack.FORMER else ""
        order = self._orders.way_back(member.station, back_to, recall_name(member.deployment))
        self._rollouts.recall(member, order, back_to, reason, self._now())

    def _as_seen(self, member: RolloutMember, said: StationStatus | None, now: float) -> Member:
        ordered_s = None if member.ordered_at is None else now - member.ordered_at
        if said is None:
            return Member(member.station, member.wave, member.state, ordered_s, online=False, reason=member.reason)
        return Member(
            member.station,
            member.wave,
            member.state,
            ordered_s,
            said.online,
            link_s=now - said.state_at,
            said_s=now - max(self._linked_at, said.reported_at if said.deployment == member.deployment else 0.0),
            reason=member.reason,
        )


def _turned_down(said: StationStatus, bundle: str) -> bool:
    """Return whether a station says that it rolled `bundle` back; an older one does not say which bundle it was."""
    return said.update_state == UpdateState.ROLLED_BACK.value and said.candidate in ("", bundle)


def _both(reason: str, why: str) -> str:
    return f"{reason}; {why}" if reason and why else reason or why
