"""New order keys, taken only where both sides vouch for them: an order key signed them and the image repository lists them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from agent.ports.clock import Clock
from agent.ports.update import FloorStore, ImageRepository
from agent.slots.order_keys_file import OrderKeysFile
from agent.update.floors import effective_now
from agent.update.order_keys import OrderKeyRing, accept, check_vouched
from contract.errors import BadBundle, BadOrder, NotFound, TransientError
from contract.order_keys_target import order_keys_target

_log = logging.getLogger(__name__)


class KeyRenewal:
    """Replaces the keys in `keys`. One thread's.

    Args:
        repositories: the image repositories to be asked, in that order.
    """

    def __init__(
        self,
        keys: OrderKeysFile,
        repositories: Callable[[], Iterable[ImageRepository]],
        *,
        floors: FloorStore,
        clock: Clock,
    ) -> None:
        self._keys, self._repositories, self._floors, self._clock = keys, repositories, floors, clock
        self._refused = ""

    def renew(self, envelope: str) -> None:
        """Let the keys in `envelope` (signed OrderKeys, "" for none) count from now on; what is refused is said once.

        Raises:
            TransientError: nobody could be asked whether they are vouched for; call again later.
        """
        known = self._keys.read()
        if not envelope:
            return
        try:
            ring = accept(known, envelope)
            if ring == known:
                return
            self._check(ring)
        except BadOrder as error:
            if error.one_line() != self._refused:
                self._refused = error.one_line()
                _log.warning("new order keys are refused: %s", self._refused)
            return
        self._keys.write(ring)
        _log.warning("the order keys were replaced, version %d", ring.version)

    def _check(self, ring: OrderKeyRing) -> None:
        name, problem = order_keys_target(ring.version), None
        now = effective_now(self._floors.read(), self._clock.now())
        refused: BadOrder | None = None
        for repository in self._repositories():
            try:
                found, _ = repository.look_up_targets((name,), now)
                return check_vouched(ring, found.get(name))
            except TransientError as error:
                problem = error
            except (BadBundle, NotFound) as error:
                refused = BadOrder(f"order keys of version {ring.version} cannot be confirmed: {error.message}")
            except BadOrder as error:
                refused = error
        if problem is not None:
            raise problem
        if refused is not None:
            raise refused
        return check_vouched(ring, None)
