"""May this order be followed now? Pure: an order whose signature holds, and what the station knows, in; an answer out (P3)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from enum import Enum

from agent.update.floors import Floors, effective_now
from contract.errors import BadBundle, BadOrder
from contract.ids import is_digest
from contract.manifest import Manifest
from contract.messages import Order

MAX_BUNDLE_BYTES = 4 << 30
MAX_SEQ_STEP = 1 << 20
"""How far an order's number may be ahead: one order by a stolen key must not use all numbers up for good."""


class OrderExpired(BadOrder):
    """Nothing is wrong with the order but the time: by a clock that may be, too."""


class Acceptance(str, Enum):
    """What to do with an order that is genuine."""

    FOLLOW = "follow"
    REPEATED = "repeated"
    UNDER_WAY = "under way"


def judge_order(
    order: Order,
    *,
    station: str,
    now: float,
    floors: Floors,
    banned: AbstractSet[tuple[str, str]],
    committed: Order | None,
    shadowed: Order | None = None,
) -> Acceptance:
    """Return whether `order` is to be followed, or is one already obeyed, delivered again.

    Args:
        order: an order whose signature was verified.
        now: the station's wall clock; it counts only where it is later than the last authenticated time.
        banned: (bundle, deployment) pairs that failed here.
        committed: the order that the running bundle was committed under.
        shadowed: the last order, where it was to decide unseen only and was obeyed.
    Raises:
        BadOrder: it must not be followed; the message says why.
        OrderExpired: by this clock; one that is set right may say otherwise.
    """
    if order.station != station:
        raise BadOrder(f"the order is for '{order.station[:80]}', this is '{station}'")
    # A retained order is delivered again at every connection, long after it expired: that is no fault (OTA-1).
    if order in (committed, shadowed):
        return Acceptance.REPEATED
    runs_nothing = not order.bundle and order.size_bytes == 0
    if not runs_nothing and not is_digest(order.bundle):
        raise BadOrder(f"'{order.bundle[:80]}' is no bundle digest")
    if not runs_nothing and not 0 < order.size_bytes <= MAX_BUNDLE_BYTES:
        raise BadOrder(f"a bundle of {order.size_bytes} bytes")
    if (order.bundle, order.deployment) in banned:
        raise BadOrder(
            f"bundle {order.bundle[:12]} already failed here in deployment '{order.deployment[:80]}'",
            hint="only a new deployment tries it again",
        )
    if order.desired_seq <= floors.desired_seq:
        raise BadOrder(
            f"order {order.desired_seq} is not newer than {floors.desired_seq}", hint="a replayed or outdated order"
        )
    if order.desired_seq > floors.desired_seq + MAX_SEQ_STEP:
        raise BadOrder(
            f"order {order.desired_seq} is {order.desired_seq - floors.desired_seq} ahead of the last one",
            hint="no cloud counts like that: is its key in other hands?",
        )
    if not runs_nothing and order.release_counter < floors.release_counter:
        raise BadOrder(
            f"release counter {order.release_counter} is below {floors.release_counter}",
            hint="bundles of that age must never run here again",
        )
    # Last, so that "expired" is only ever said of an order that nothing else is wrong with.
    at = effective_now(floors, now)
    if at > order.expires_at:
        raise OrderExpired(
            f"the order expired before it arrived, at {order.expires_at:.0f} (Unix time)",
            hint="issue it again, or set this station's clock",
        )
    return Acceptance.FOLLOW


def check_release_counter(manifest: Manifest, order: Order, floors: Floors) -> None:
    """Check that the bundle's own release counter permits it to run (OTA-3).

    Raises:
        BadBundle: it is older than the order or the floor allows.
    """
    least = max(order.release_counter, floors.release_counter)
    if manifest.release_counter < least:
        raise BadBundle(f"the bundle's release counter {manifest.release_counter} is below {least}")
