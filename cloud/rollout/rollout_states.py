"""The states of a rollout and of a station within it; everything that affects the two machines lives here."""

from __future__ import annotations

from enum import Enum

from contract.errors import IllegalTransition


class RolloutState(str, Enum):
    """A rollout as a whole. PROPOSED: people must approve it first. PAUSED: a person holds it; it hears and may still abort."""

    PROPOSED = "PROPOSED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    ABORTING = "ABORTING"
    DONE = "DONE"
    ABORTED = "ABORTED"


class RolloutEvent(str, Enum):
    """What happens to a rollout."""

    APPROVE = "approved"
    PAUSE = "pause"
    RESUME = "resume"
    ALL_WAVES_COMMITTED = "all waves committed"
    ABORT = "abort"
    ALL_BACK = "every station is back on a good bundle"


ROLLOUT_TABLE: dict[RolloutState, dict[RolloutEvent, RolloutState]] = {
    RolloutState.PROPOSED: {RolloutEvent.APPROVE: RolloutState.RUNNING, RolloutEvent.ABORT: RolloutState.ABORTING},
    RolloutState.RUNNING: {
        RolloutEvent.PAUSE: RolloutState.PAUSED,
        RolloutEvent.ALL_WAVES_COMMITTED: RolloutState.DONE,
        RolloutEvent.ABORT: RolloutState.ABORTING,
    },
    RolloutState.PAUSED: {RolloutEvent.RESUME: RolloutState.RUNNING, RolloutEvent.ABORT: RolloutState.ABORTING},
    RolloutState.ABORTING: {RolloutEvent.ALL_BACK: RolloutState.ABORTED},
    RolloutState.DONE: {},
    RolloutState.ABORTED: {},
}

FORWARD = (RolloutState.PROPOSED, RolloutState.RUNNING, RolloutState.PAUSED)
"""A rollout that goes forward, or is to."""
LIVE = (*FORWARD, RolloutState.ABORTING)
"""A rollout that is not over: there is one at most."""


class MemberState(str, Enum):
    """One station within a rollout.

    SHADOWING: ordered to decide unseen only; SHADOWED: did so, and waits for its real order; one that turned out to run the bundle
    already (a kit brought it) is PLANNED again. RECALLED: ordered back, and it has not said so yet: one that is away stays so until
    it returns, however long its rollout is over. SKIPPED: never ordered because the rollout stopped, stopped by a person while it
    went on, or waited for no more: a newer order took the place of this rollout's, or its access was taken away.
    """

    PLANNED = "PLANNED"
    SHADOWING = "SHADOWING"
    SHADOWED = "SHADOWED"
    ORDERED = "ORDERED"
    COMMITTED = "COMMITTED"
    FAILED = "FAILED"
    RECALLED = "RECALLED"
    BACK = "BACK"
    SKIPPED = "SKIPPED"


class MemberEvent(str, Enum):
    """What happens to a station within a rollout."""

    SHADOW = "order unseen"
    SHOWN = "shown unseen"
    HAS_IT = "has it already"
    ORDER = "order"
    COMMIT = "commit"
    FAIL = "fail"
    RECALL = "recall"
    RETURN = "return"
    SKIP = "skip"


MEMBER_TABLE: dict[MemberState, dict[MemberEvent, MemberState]] = {
    MemberState.PLANNED: {
        MemberEvent.SHADOW: MemberState.SHADOWING,
        MemberEvent.ORDER: MemberState.ORDERED,
        # It was to decide unseen what it runs already: a bad release must not stay with it either.
        MemberEvent.RECALL: MemberState.RECALLED,
        MemberEvent.SKIP: MemberState.SKIPPED,
    },
    # One that was away for the whole shadow wave gets its real order in the place of the other.
    MemberState.SHADOWING: {
        MemberEvent.SHOWN: MemberState.SHADOWED,
        MemberEvent.HAS_IT: MemberState.PLANNED,
        MemberEvent.ORDER: MemberState.ORDERED,
        MemberEvent.FAIL: MemberState.FAILED,
        MemberEvent.RECALL: MemberState.RECALLED,
        MemberEvent.SKIP: MemberState.SKIPPED,
    },
    MemberState.SHADOWED: {
        MemberEvent.ORDER: MemberState.ORDERED,
        MemberEvent.RECALL: MemberState.RECALLED,
        MemberEvent.SKIP: MemberState.SKIPPED,
    },
    MemberState.ORDERED: {
        MemberEvent.COMMIT: MemberState.COMMITTED,
        MemberEvent.FAIL: MemberState.FAILED,
        MemberEvent.RECALL: MemberState.RECALLED,
        MemberEvent.SKIP: MemberState.SKIPPED,
    },
    # A station may leave a bundle that it committed: it died in it again and again, or a person took it back by hand.
    MemberState.COMMITTED: {
        MemberEvent.FAIL: MemberState.FAILED,
        MemberEvent.RECALL: MemberState.RECALLED,
        MemberEvent.SKIP: MemberState.SKIPPED,
    },
    # A way back that was turned down is ordered anew under another name: a station never tries one name twice.
    # One that is away keeps its way back; what is ordered of it later, or that it can never be heard again, ends the wait.
    MemberState.RECALLED: {
        MemberEvent.RECALL: MemberState.RECALLED,
        MemberEvent.RETURN: MemberState.BACK,
        MemberEvent.SKIP: MemberState.SKIPPED,
    },
    MemberState.FAILED: {MemberEvent.RECALL: MemberState.RECALLED},
    MemberState.BACK: {},
    MemberState.SKIPPED: {},
}


def step_rollout(state: RolloutState, event: RolloutEvent) -> RolloutState:
    """Return the next state.

    Raises:
        IllegalTransition: the table has no row for it.
    """
    try:
        return ROLLOUT_TABLE[state][event]
    except KeyError:
        raise IllegalTransition(f"a rollout that is {state.value} cannot '{event.value}'") from None


def step_member(state: MemberState, event: MemberEvent) -> MemberState:
    """Return the next state.

    Raises:
        IllegalTransition: the table has no row for it.
    """
    try:
        return MEMBER_TABLE[state][event]
    except KeyError:
        raise IllegalTransition(f"a station that is {state.value} cannot '{event.value}'") from None
