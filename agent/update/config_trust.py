"""May this order of settings be followed now? Pure: an order whose signature holds, and what the station knows, in (P3)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from agent.update.config_state import ConfigEnding, ConfigFloor, ban_of
from agent.update.trust import MAX_SEQ_STEP, Acceptance
from contract.config_states import MAX_PROBATION_S, MAX_SETTINGS_BYTES, MIN_PROBATION_S
from contract.errors import BadOrder
from contract.messages import ConfigOrder


def judge_configuration(
    order: ConfigOrder,
    *,
    station: str,
    now: float,
    floor: ConfigFloor,
    banned: AbstractSet[tuple[str, str]],
    last: ConfigEnding | None,
    in_force: ConfigOrder | None,
) -> Acceptance:
    """Return whether `order` is to be followed, or is one that ended here already, delivered again.

    Args:
        order: an order whose signature was verified.
        now: the station's wall clock, never before the last time that both sides agreed on (`effective_now`, OTA-1).
        banned: (settings digest, deployment) pairs that failed here.
        last: how the last change ended.
        in_force: the order whose settings are in force.
    Raises:
        BadOrder: it must not be followed; the message says why.
    """
    if order.station != station:
        raise BadOrder(f"the order is for '{order.station[:80]}', this is '{station}'")
    # A retained order is delivered again at every connection, long after it expired: that is no fault (OTA-1).
    if order == in_force or (last is not None and order == last.order):
        return Acceptance.REPEATED
    if order.config_seq <= floor.config_seq:
        raise BadOrder(
            f"settings {order.config_seq} are not newer than {floor.config_seq}", hint="a replayed or outdated order"
        )
    if order.config_seq > floor.config_seq + MAX_SEQ_STEP:
        raise BadOrder(
            f"settings {order.config_seq} are {order.config_seq - floor.config_seq} ahead of the last ones",
            hint="no cloud counts like that: is its key in other hands?",
        )
    if ban_of(order) in banned:
        raise BadOrder(
            f"these settings already failed here in deployment '{order.deployment[:80]}'",
            hint="only a new deployment tries them again",
        )
    if len(order.settings.encode(errors="surrogatepass")) > MAX_SETTINGS_BYTES:
        raise BadOrder(f"settings of more than {MAX_SETTINGS_BYTES} bytes")
    if not MIN_PROBATION_S <= order.probation_s <= MAX_PROBATION_S:
        raise BadOrder(
            f"a probation of {order.probation_s:g} s", hint=f"it must be {MIN_PROBATION_S:g} to {MAX_PROBATION_S:g} s"
        )
    # Last, so that "expired" is only ever said of an order that nothing else is wrong with.
    if now > order.expires_at:
        raise BadOrder(
            f"the order expired {now - order.expires_at:.0f} s before it arrived",
            hint="issue it again, or set this station's clock",
        )
    return Acceptance.FOLLOW
