"""Standing orders signed anew before they expire, so that a station that was away for long finds one that holds (DESIGN 6)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping

from cloud.order_maker import OrderMaker
from cloud.ports.rollouts import RolloutBook
from cloud.ports.stations import StationStatus
from contract.errors import TransientError
from contract.messages import SHADOWED, Order
from contract.update_states import UpdateState

_log = logging.getLogger(__name__)

# Orders hold for days: reading all of them at every tick would be for nothing.
_LOOK_EVERY_S = 60.0
_ENDED = (UpdateState.COMMITTED.value, UpdateState.ROLLED_BACK.value)


class OrderRenewal:
    """Renews orders that their stations have not followed at half their life. One thread's."""

    def __init__(self, *, rollouts: RolloutBook, orders: OrderMaker, now: Callable[[], float]) -> None:
        self._rollouts, self._orders, self._now = rollouts, orders, now
        self._looked_at = -math.inf

    def look(self, status: Mapping[str, StationStatus]) -> None:
        """Sign anew what is due, whether or not its rollout is over."""
        now = self._now()
        if 0.0 <= now - self._looked_at < _LOOK_EVERY_S:  # a clock that was set back must not stop it until then
            return
        self._looked_at = now
        for standing in self._rollouts.all_standing():
            said = status.get(standing.station)
            if standing.facts is None or said is None or not is_due(standing.facts, said, now):
                continue
            try:
                self._rollouts.renew(standing, self._orders.renewed(standing), now)
            except TransientError as error:
                _log.info("an order is not renewed now: %s", error.one_line())


def is_due(order: Order, said: StationStatus, now: float) -> bool:
    """Return whether `order` is past half its life and its station never came to an end with it, nor with a newer one.

    A newer one came by a kit, for instance: the older must not be put above it. One that a station which is here is busy with
    is left alone, for another number would end its trial; should it lose it, it says so.
    """
    if now < (order.issued_at + order.expires_at) / 2:
        return False
    ended = said.update_state in _ENDED or said.outcome == SHADOWED
    taken = said.deployment == order.deployment and (said.online or ended)
    return not taken and said.desired_seq <= order.desired_seq
