"""Rollouts carried out: orders signed and sent, reports judged, bad releases taken back (DESIGN 7)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cloud.ports.configurations import ConfigurationBook, StandingConfiguration
from cloud.ports.link import Link
from cloud.ports.registry import OrderSigner, Release, Releases
from cloud.ports.rollouts import Rollout, RolloutBook, RolloutMember, StandingOrder
from cloud.ports.stations import StationBook, StationStatus
from cloud.rollout.cohort import plan_waves
from cloud.rollout.judge import Member, RolloutPolicy, StepKind, next_step
from cloud.rollout.rollout_states import MemberEvent, MemberState, RolloutEvent, RolloutState
from contract.codec import encode_control
from contract.errors import NotFound, RefusedError
from contract.messages import DesiredState, Order, Probation
from contract.topics import Channel, topic
from contract.update_states import UpdateState

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How releases reach the fleet. `wave_shares` are rising shares of the fleet; a single canary always comes first."""

    wave_shares: tuple[float, ...] = (0.05, 0.25)
    probation_frames: int = 256
    min_agreement: float = 0.9
    probation_timeout_s: float = 600.0
    shadow_share: float = 1.0
    max_mix_shift: float = 1.0
    max_memory_mib: float = 0.0
    serve_s: float = 0.0
    order_valid_s: float = 30 * 86_400.0
    policy: RolloutPolicy = field(default_factory=RolloutPolicy)


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
        self._configurations, self._order_keys = configurations, order_keys
        self._keys_said = dict[str, str]()
        self._rollouts, self._stations, self._releases = rollouts, stations, releases
        self._signer, self._link, self._settings, self._now = signer, link, settings, now
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

        Any thread may ask. No image key is needed to stop something.

        Raises:
            RefusedError: a rollout is under way.
            TransientError: another order went out in the same moment.
        """
        now, seq = self._now(), self._rollouts.next_seq(station)
        order = Order(
            station=station,
            bundle="",
            size_bytes=0,
            deployment=f"stop-{seq}-{station}"[:64],
            desired_seq=seq,
            release_counter=0,
            issued_at=now,
            expires_at=now + self._settings.order_valid_s,
            probation=Probation(0, 0.0),
        )
        standing = StandingOrder(station, seq, "", self._signer.sign(order), published=False)
        self._rollouts.order_apart(standing, actor, "stop station", reason, now)

    def tick(self) -> None:
        """Take every rollout one step further and send what the broker has not taken yet."""
        if (connections := self._link.connections()) != self._seen_connections:
            # A broker that came back without its retained messages must get the orders again; the same order twice is one.
            self._rollouts.republish_all()
            if self._configurations is not None:
                self._configurations.republish_all()
            self._keys_said.clear()
            self._seen_connections = connections
            self._linked_at = self._now()
        elif not self._link.connected():
            self._linked_at = self._now()  # who cannot be heard is not silent
        status = {s.station: s for s in self._stations.status()}
        for rollout in self._rollouts.all():
            if rollout.state is RolloutState.RUNNING:
                self._hear(rollout, status)
                self._advance(rollout, status)
            elif rollout.state is RolloutState.ABORTING:
                self._hear(rollout, status)
                self._bring_back(rollout, status)
        self._publish(status)

    def _hear(self, rollout: Rollout, status: dict[str, StationStatus]) -> None:
        """Take over what the stations report of this rollout's deployments."""
        for member in self._rollouts.members(rollout.id):
            said = status.get(member.station)
            if said is None or member.state is not MemberState.ORDERED or said.deployment != member.deployment:
                continue
            if said.update_state == UpdateState.COMMITTED.value and said.bundle == rollout.bundle:
                self._rollouts.step_member(member, MemberEvent.COMMIT, said.reason, self._now())
            elif said.update_state == UpdateState.ROLLED_BACK.value:
                self._rollouts.step_member(member, MemberEvent.FAIL, said.reason, self._now())

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
            elif member.state is MemberState.RECALLED and self._is_back(rollout, member, said):
                self._rollouts.step_member(
                    member, MemberEvent.RETURN, member.reason or "back on the former bundle", now
                )
        members = self._rollouts.members(rollout.id)
        if all(self._is_over(m, status.get(m.station)) for m in members):
            self._rollouts.step(rollout, RolloutEvent.ALL_BACK, "plumbline", rollout.reason, now)

    def _rolled_out(self) -> list[Release]:
        """Return the releases that some station was ordered to run in a rollout that ended well."""
        done = [rollout.bundle for rollout in self._rollouts.all() if rollout.state is RolloutState.DONE]
        return [release for bundle in done if (release := self._releases.by_digest(bundle)) is not None]

    def _is_back(self, rollout: Rollout, member: RolloutMember, said: StationStatus | None) -> bool:
        if not self._has_way_back(rollout, member, said):
            return True
        return said is not None and said.bundle == member.previous_bundle and said.deployment == _recall_name(member)

    @staticmethod
    def _is_over(member: RolloutMember, said: StationStatus | None) -> bool:
        if member.state in (MemberState.BACK, MemberState.SKIPPED):
            return True
        # A station that is away keeps its standing order and obeys it on its return; the fleet does not wait for it.
        return member.state is MemberState.RECALLED and (said is None or not said.online)

    def _order(self, rollout: Rollout, member: RolloutMember, said: StationStatus | None) -> None:
        agreement = 0.0 if member.station in rollout.changed_stations else self._settings.min_agreement
        order = self._signed(member.station, rollout.bundle, member.deployment, agreement)
        self._rollouts.order(member, MemberEvent.ORDER, order, said.bundle if said else "", self._now())

    def _has_way_back(self, rollout: Rollout, member: RolloutMember, said: StationStatus | None) -> bool:
        return not self._why_no_way_back(rollout, member, said)

    def _why_no_way_back(self, rollout: Rollout, member: RolloutMember, said: StationStatus | None) -> str:
        """Return why a station cannot be ordered back, "" when it can. It must not keep the others from going back."""
        if not member.previous_bundle:
            return "there is no former bundle"
        former, new = self._releases.by_digest(member.previous_bundle), self._releases.by_digest(rollout.bundle)
        if former is None:  # it came by a USB kit, or is gone from the catalog
            return f"former bundle '{member.previous_bundle[:12]}' is in no release: nothing to order back"
        committed = member.state is MemberState.COMMITTED or (said is not None and said.bundle == rollout.bundle)
        if committed and new is not None and former.release_counter < new.release_counter:
            return f"{rollout.version} raised the release counter to {new.release_counter}: what ran before must never run again"
        return ""

    def _recall(self, rollout: Rollout, member: RolloutMember, said: StationStatus | None) -> None:
        # OTA-3: a rollback is a new order for old bytes. What it replaces is the thing known wrong: no agreement is asked.
        why = self._why_no_way_back(rollout, member, said)
        if why:
            # Left standing, the bad order would be obeyed by a station that was away, whenever it comes back.
            self._rollouts.withdraw(member, f"{member.reason}; {why}" if member.reason else why, self._now())
            return
        order = self._signed(member.station, member.previous_bundle, _recall_name(member), 0.0)
        self._rollouts.order(member, MemberEvent.RECALL, order, member.previous_bundle, self._now())

    def _signed(self, station: str, bundle: str, deployment: str, agreement: float) -> StandingOrder:
        release = self._releases.by_digest(bundle)
        if release is None:
            raise NotFound(f"bundle {bundle[:12]} is in no release", hint="restore the registry from its backup")
        now, settings = self._now(), self._settings
        order = Order(
            station=station,
            bundle=bundle,
            size_bytes=release.size_bytes,
            deployment=deployment,
            desired_seq=self._rollouts.next_seq(station),
            release_counter=release.release_counter,
            issued_at=now,
            expires_at=now + settings.order_valid_s,
            probation=Probation(
                settings.probation_frames,
                agreement,
                settings.probation_timeout_s,
                shadow_share=settings.shadow_share,
                # A station whose alarm this answers is meant to decide otherwise.
                max_mix_shift=settings.max_mix_shift if agreement else 1.0,
                max_memory_mib=settings.max_memory_mib,
                serve_s=settings.serve_s,
            ),
        )
        return StandingOrder(station, order.desired_seq, bundle, self._signer.sign(order), published=False)

    def desired_of(self, station: str) -> DesiredState:
        """Return what a station is told: what the broker retains for it. Any thread may ask."""
        return self._desired(station, self._order_keys())[2]

    def _desired(
        self, station: str, keys: str
    ) -> tuple[StandingOrder | None, StandingConfiguration | None, DesiredState]:
        order = self._rollouts.standing(station)
        settings = self._configurations.standing(station) if self._configurations is not None else None
        desired = DesiredState(
            station,
            order.envelope if order else "",
            configuration=settings.envelope if settings else "",
            order_keys=keys,
        )
        return order, settings, desired

    def _publish(self, stations: Iterable[str]) -> None:
        """Send each station's desired state that changed: one retained message of its order, its settings and the order keys."""
        keys, book = self._order_keys(), self._configurations
        due = dict.fromkeys(order.station for order in self._rollouts.unpublished())
        due |= dict.fromkeys(each.station for each in book.unpublished()) if book is not None else {}
        due |= dict.fromkeys(station for station in stations if self._keys_said.get(station, "") != keys)
        for station in due:
            order, settings, desired = self._desired(station, keys)
            said = desired.envelope or desired.configuration or desired.order_keys
            # An empty retained message clears what the broker keeps.
            message = encode_control(desired) if said else b""
            if not self._link.publish(topic(station, Channel.DESIRED), message, qos=1, retain=True):
                continue
            self._keys_said[station] = keys
            if order is not None:
                self._rollouts.mark_published(order)
            if book is not None and settings is not None:
                book.mark_published(settings)

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


def _recall_name(member: RolloutMember) -> str:
    return f"{member.deployment}-back"
