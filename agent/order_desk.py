"""Orders as they come in: which of them is to be followed now (P3). Nothing here acts on one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from agent.ports.clock import Clock
from agent.ports.orders import OrderInbox
from agent.ports.update import FloorStore, SlotStore
from agent.update.slot_state import shadowed_order
from agent.update.trust import Acceptance, OrderExpired, judge_order
from contract.errors import BadOrder
from contract.messages import DesiredState, Order
from contract.signature import OrderKey, verify_order

_log = logging.getLogger(__name__)

_AGAIN_S = 60.0


class OrderDesk:
    """Takes desired states from `inbox` and judges the orders in them. One thread's.

    `keys` returns the order keys that hold now.
    """

    def __init__(
        self,
        station: str,
        keys: Callable[[], Sequence[OrderKey]],
        *,
        inbox: OrderInbox,
        slots: SlotStore,
        floors: FloorStore,
        clock: Clock,
    ) -> None:
        self._station, self._keys = station, keys
        self._inbox, self._slots, self._floors, self._clock = inbox, slots, floors, clock
        self._stashed: DesiredState | None = None
        self._expired: tuple[DesiredState, float] | None = None
        self._last_refusal = ""
        self.refused = 0

    def take(self, within_s: float) -> DesiredState | None:
        """Return the desired state left and not yet taken, waiting at most `within_s`."""
        stashed, self._stashed = self._stashed, None
        desired = stashed if stashed is not None else self._inbox.take(within_s)
        if desired is not None:
            self._expired = None
        elif self._expired is not None and self._clock.monotonic() >= self._expired[1]:
            # It is not delivered again by itself when the clock, by which it had expired, is set right.
            desired, _ = self._expired
            self._expired = desired, self._clock.monotonic() + _AGAIN_S
        return desired

    def put_back(self, desired: DesiredState) -> None:
        """Leave what could not be judged just now to be taken again, unless a newer one waits."""
        if self._stashed is None:
            self._stashed = desired

    def newer_waits(self) -> bool:
        """Return whether a desired state waits to be taken."""
        if self._stashed is None:
            self._stashed = self._inbox.take(0.0)
        return self._stashed is not None

    def judge(self, desired: DesiredState, under_way: Order | None) -> tuple[Acceptance, Order]:
        """Return what to do with the order in `desired`; REPEATED too where it is the one `under_way`.

        Raises:
            BadOrder: it must not be followed; the message says why.
        """
        order = verify_order(desired.envelope, self._keys())
        if under_way is not None and order == under_way:
            return Acceptance.UNDER_WAY, order
        mark = self._slots.committed()
        try:
            acceptance = judge_order(
                order,
                station=self._station,
                now=self._clock.now(),
                floors=self._floors.read(),
                banned=self._slots.banned(),
                committed=mark.order if mark else None,
                shadowed=shadowed_order(self._slots.last()),
            )
        except OrderExpired:
            self._expired = desired, self._clock.monotonic() + _AGAIN_S
            raise
        if under_way is not None and order.desired_seq <= under_way.desired_seq:
            raise BadOrder(f"order {order.desired_seq} is not newer than {under_way.desired_seq}, under way")
        self._last_refusal, self._expired = "", None
        return acceptance, order

    def refuse(self, error: BadOrder) -> str:
        """Count a refusal; return what to say of it, "" when it was said already (the same retained order, come again)."""
        said = error.one_line()
        if said == self._last_refusal:
            # An expired order is judged again every minute, and is one refusal.
            self.refused += not isinstance(error, OrderExpired)
            return ""
        self.refused += 1
        self._last_refusal = said
        _log.warning("order refused: %s", said)
        return f"order refused: {said}"
