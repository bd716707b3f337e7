"""Waiting for what becomes of a kit that lies in the station's inbox."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from agent.mailboxes import ReportBox
from agent.ports.clock import Clock
from agent.slots.kit_inbox import COMMITTED, ROLLED_BACK, KitInbox
from agent.slots.reported_file import ReportedFile
from agent.update_loop import UpdateLoop
from contract.messages import Order, ReportedState
from contract.update_states import UpdateState

_LOOK_UP_S = 0.2
_GONE_S = 10.0  # a station that is started again at once is not gone


class KitEnd(str, Enum):
    """How applying a kit ended, as far as it was waited for."""

    COMMITTED = "committed"
    STAGED = "staged"
    ROLLED_BACK = "rolled back"
    REFUSED = "refused"
    UNDER_WAY = "under way"
    STOPPED = "stopped"


def ended(kits: KitInbox, order: Order) -> tuple[KitEnd, str] | None:
    """Return how the kit with `order` ended, and why; None while it has not."""
    outcome = kits.outcome()
    if outcome is None or outcome.desired_seq not in (0, order.desired_seq):
        return None
    kinds = {COMMITTED: KitEnd.COMMITTED, ROLLED_BACK: KitEnd.ROLLED_BACK}
    return kinds.get(outcome.ending, KitEnd.REFUSED), outcome.reason


def follow_running(
    kits: KitInbox,
    reported: ReportedFile,
    order: Order,
    *,
    clock: Clock,
    within_s: float,
    running: Callable[[], bool],
    say: Callable[[str], None],
) -> tuple[KitEnd, str]:
    """Wait until the running station has followed the kit's order; `say` is told each step."""
    until, told, seen_at = clock.monotonic() + within_s, "", clock.monotonic()
    while True:
        found = ended(kits, order)
        if found is not None:
            return found
        state = reported.read()
        words = _in_words(state, order)
        if words != told:
            told = words
            say(words)
        if running():
            seen_at = clock.monotonic()
        elif clock.monotonic() - seen_at > _GONE_S:
            # It may have ended in the very moment of stopping.
            return ended(kits, order) or (KitEnd.STOPPED, "the station stopped; it goes on when it is started again")
        if clock.monotonic() >= until:
            return KitEnd.UNDER_WAY, words
        clock.sleep(_LOOK_UP_S)


def stage_stopped(
    loop: UpdateLoop,
    box: ReportBox,
    kits: KitInbox,
    order: Order,
    *,
    clock: Clock,
    within_s: float,
    say: Callable[[str], None],
) -> tuple[KitEnd, str]:
    """Drive the loop of a station that is stopped up to its trial, which needs live frames and waits for the next start.

    The kit stays in the inbox until then. Nothing is committed without a trial, not even where no bundle is installed.
    """
    until, told = clock.monotonic() + within_s, ""
    loop.start()
    while True:
        found = ended(kits, order)
        if found is not None:
            return found
        state = box.current()
        words = _in_words(state, order)
        if words != told:
            told = words
            say(words)
        if state is not None and (state.desired_seq, state.update_state) == (
            order.desired_seq,
            UpdateState.TRIAL.value,
        ):
            return KitEnd.STAGED, ""
        if clock.monotonic() >= until:
            return KitEnd.UNDER_WAY, words
        loop.tick(_LOOK_UP_S)


def _in_words(state: ReportedState | None, order: Order) -> str:
    if state is None or state.desired_seq != order.desired_seq:
        return "waiting for the update loop"
    return f"{state.update_state}: {state.reason}" if state.reason else state.update_state
