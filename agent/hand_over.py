"""What somebody standing at the station asks for: an update from a kit, or a step back. It comes before what the cloud says.

The commands leave their wish in files (`agent.slots.kit_inbox`, `agent.slots.step_back`); the update thread finds it when it
asks for orders, so everything that changes a slot still happens in that one thread, by the same checks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from agent.image_fetch import ImageSource
from agent.key_renewal import KeyRenewal
from agent.ports.clock import Clock
from agent.ports.orders import OrderInbox, Report
from agent.ports.update import FloorStore, ImageRepository, SlotStore
from agent.slots.kit_inbox import COMMITTED, REFUSED, ROLLED_BACK, SUPERSEDED, KitDownloader, KitInbox, KitOutcome
from agent.slots.order_keys_file import OrderKeysFile
from agent.slots.reported_file import ReportedFile
from agent.update.floors import RepositoryVersions
from agent.update.slot_state import shadowed_order
from agent.update.trust import Acceptance, judge_order
from agent.update.trusted_target import TrustedTarget
from contract.errors import BadOrder, TransientError
from contract.messages import SHADOWED, DesiredState, Order, ReportedState
from contract.signature import verify_order
from contract.update_states import UpdateState

_log = logging.getLogger(__name__)
_ASK_AGAIN_S = 30.0
_ENDED = (UpdateState.COMMITTED.value, UpdateState.ROLLED_BACK.value)


class HandOver:
    """Stands between the update loop and its mailboxes: an `OrderInbox` and a `Report` to the loop. One thread's.

    Args:
        keys: the order keys that count; what comes with an order may replace them, before that order is judged.
        client: opens the image repository in a kit's folder, given that folder and one for its cache.
        network: the image repository that is reached over the network, if any.
        step_back: does what was asked by hand, if anything; told whether an update is under way.
        held: whether nothing new may begin, since settings are on trial.
    """

    def __init__(
        self,
        station: str,
        keys: OrderKeysFile,
        *,
        kits: KitInbox,
        reported: ReportedFile,
        inbox: OrderInbox,
        report: Report,
        slots: SlotStore,
        floors: FloorStore,
        clock: Clock,
        client: Callable[[Path, Path], ImageRepository],
        network: ImageRepository | None = None,
        step_back: Callable[[bool], None] = lambda _busy: None,
        held: Callable[[], bool] = lambda: False,
    ) -> None:
        self._station, self._keys = station, keys
        self._kits, self._reported, self._inbox, self._report = kits, reported, inbox, report
        self._slots, self._floors, self._clock, self._client = slots, floors, clock, client
        self._step_back, self._held = step_back, held
        self._handed: tuple[int, int] | None = None
        self._following: Order | None = None
        self._busy = False
        self._network = [] if network is None else [network]
        self._renewal = KeyRenewal(keys, self._vouchers, floors=floors, clock=clock)
        self._unasked: DesiredState | None = None
        self._ask_again_at = 0.0

    # OrderInbox

    def put(self, desired: DesiredState) -> None:
        """Leave the cloud's retained desired state."""
        self._inbox.put(desired)

    def take(self, within_s: float) -> DesiredState | None:
        """Return a kit's order, once; else what the cloud left, waiting at most `within_s`."""
        if self._held():
            return self._take(within_s)
        self._step_back(self._busy)
        self._kits.sweep()
        stamp = self._kits.stamp()
        if stamp is not None and stamp != self._handed:
            desired = self._judge_kit(stamp)
            self._handed = stamp
            if desired is not None:
                return desired
        return self._take(within_s)

    # Report

    def publish(self, state: ReportedState) -> None:
        """Pass a report on, keep it where `plumbline-agent update status` finds it, and note how a kit ended."""
        self._busy = state.update_state not in (*_ENDED, UpdateState.IDLE.value)
        self._report.publish(state)
        self._reported.write(state)
        order = self._following
        if order is None:
            return
        if state.desired_seq > order.desired_seq:
            self._conclude(order, SUPERSEDED, f"order {state.desired_seq} took its place", self._handed)
        elif (state.desired_seq, state.candidate) == (order.desired_seq, order.bundle) and not self._busy:
            kept = state.update_state == UpdateState.COMMITTED.value or state.outcome == SHADOWED
            self._conclude(order, COMMITTED if kept else ROLLED_BACK, "" if kept else state.reason, self._handed)

    def latest(self) -> ReportedState | None:
        """Return the newest state if it was not returned yet."""
        return self._report.latest()

    def reset(self) -> None:
        """Forget what was returned."""
        self._report.reset()

    def sources(self) -> list[ImageSource]:
        """Return the kit as a place that bundles come from, while its order is being followed; nothing otherwise.

        An old kit that lies here must not be asked about orders that come over the network.
        """
        if self._following is None:
            return []
        downloader = KitDownloader(self._kits)
        repository = _OfKit(self._client(self._kits.here, self._kits.cache), downloader.has)
        return [ImageSource("the kit", repository, downloader)]

    def _take(self, within_s: float) -> DesiredState | None:
        came = self._inbox.take(within_s)
        desired = came or self._unasked
        if desired is None or (came is None and self._clock.monotonic() < self._ask_again_at):
            return None
        self._unasked = None
        try:
            self._renewal.renew(desired.order_keys)
        except TransientError as error:
            # Asked again, or an order of the new keys would be lost; meanwhile it is judged once by those that count.
            _log.warning("whether new order keys are vouched for is asked again: %s", error.one_line())
            self._unasked, self._ask_again_at = desired, self._clock.monotonic() + _ASK_AGAIN_S
            return came
        return desired

    def _vouchers(self) -> list[ImageRepository]:
        kit = [self._client(self._kits.here, self._kits.cache)] if self._kits.stamp() is not None else []
        return [*kit, *self._network]

    def _judge_kit(self, stamp: tuple[int, int]) -> DesiredState | None:
        desired = self._kits.order()
        if desired is None:
            self._kits.conclude(KitOutcome(0, "", REFUSED, "its order cannot be read any more"), stamp)
            return None
        mark = self._slots.committed()
        try:
            self._renewal.renew(desired.order_keys)
        except TransientError as error:
            _log.warning("whether new order keys are vouched for is not known: %s", error.one_line())
        try:
            order = verify_order(desired.envelope, self._keys.read().keys)
        except BadOrder as error:
            self._kits.conclude(KitOutcome(0, "", REFUSED, error.one_line()), stamp)
            return None
        try:
            accepted = judge_order(
                order,
                station=self._station,
                now=self._clock.now(),
                floors=self._floors.read(),
                banned=self._slots.banned(),
                committed=mark.order if mark else None,
                shadowed=shadowed_order(self._slots.last()),
            )
        except BadOrder as error:
            _log.warning("the kit's order is refused: %s", error.one_line())
            self._conclude(order, REFUSED, error.one_line(), stamp)
            return None
        if accepted is Acceptance.REPEATED:
            self._conclude(order, COMMITTED, "", stamp)
            return None
        self._following = order
        _log.info("a kit brings order %d: bundle %s", order.desired_seq, order.bundle[:12])
        return desired

    def _conclude(self, order: Order, ending: str, reason: str, stamp: tuple[int, int] | None) -> None:
        self._following = None
        try:
            self._kits.conclude(KitOutcome(order.desired_seq, order.bundle, ending, reason), stamp)
        except TransientError as error:
            # What the update loop committed stands; whoever waits for the kit's end asks `update status`.
            _log.warning("how the kit ended could not be noted: %s", error.one_line())


class _OfKit:
    """A kit's image repository, of which only counts what the kit brought along: no delta that stayed at home."""

    def __init__(self, repository: ImageRepository, has: Callable[[str], bool]) -> None:
        self._repository, self._has = repository, has

    def look_up_targets(
        self, names: Iterable[str], now: float
    ) -> tuple[Mapping[str, TrustedTarget], RepositoryVersions]:
        """Return those of the files that the repository lists and the kit holds, and the versions seen."""
        found, versions = self._repository.look_up_targets(names, now)
        return {name: target for name, target in found.items() if self._has(name)}, versions
