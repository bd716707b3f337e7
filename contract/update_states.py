"""The states of one update on a station. Everything that affects the state machine lives here (DESIGN 6).

IDLE -> META -> DOWNLOAD -> STAGED -> SELFTEST -> TRIAL -> PROBATION -> COMMITTED | ROLLED_BACK
                                                        -> IDLE, where it was to decide unseen only

IDLE         nothing to do
META         an order was accepted; the image repository is asked whether it knows the bundle
DOWNLOAD     the archive is being fetched
STAGED       the bundle lies verified in a slot
SELFTEST     its golden vectors are being run in a limited subprocess
TRIAL        a try was counted on the disk; it is loaded and decides live frames unseen, beside the incumbent
PROBATION    it is in charge, and the incumbent comes back at the first trouble
COMMITTED    it is the station's bundle
ROLLED_BACK  it is not, and this (bundle, deployment) is banned

A missing row is the error: `step` raises IllegalTransition and nothing has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from contract.errors import IllegalTransition


class UpdateState(str, Enum):
    """Where an update stands; the value is what a station reports."""

    IDLE = "IDLE"
    META = "META"
    DOWNLOAD = "DOWNLOAD"
    STAGED = "STAGED"
    SELFTEST = "SELFTEST"
    TRIAL = "TRIAL"
    PROBATION = "PROBATION"
    COMMITTED = "COMMITTED"
    ROLLED_BACK = "ROLLED_BACK"


class UpdateEvent(str, Enum):
    """What can happen to an update."""

    ORDER_ACCEPTED = "order accepted"
    ALREADY_RUNNING = "already running"
    NOTHING_TO_RUN = "nothing to run"
    TARGET_FOUND = "target found"
    ALREADY_STAGED = "already staged"
    INSTALLED = "installed"
    SELFTEST_STARTED = "self-test started"
    SELFTEST_PASSED = "self-test passed"
    IN_CHARGE = "in charge"
    RESTARTED = "restarted"
    KEPT = "kept"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    SHADOWED = "shadowed"


_S, _E = UpdateState, UpdateEvent

_BEGIN = {_E.ORDER_ACCEPTED: _S.META, _E.ALREADY_RUNNING: _S.COMMITTED, _E.NOTHING_TO_RUN: _S.COMMITTED}

TABLE: Mapping[UpdateState, Mapping[UpdateEvent, UpdateState]] = {
    # A restart finds the trial on the disk, whatever was in memory, so IDLE can resume one (or give it up).
    # What runs already has nothing to show unseen.
    _S.IDLE: {
        **_BEGIN,
        _E.RESTARTED: _S.TRIAL,
        _E.SHADOWED: _S.IDLE,
        _E.FAILED: _S.ROLLED_BACK,
        _E.SUPERSEDED: _S.IDLE,
    },
    _S.META: {
        _E.TARGET_FOUND: _S.DOWNLOAD,
        _E.ALREADY_STAGED: _S.STAGED,
        _E.FAILED: _S.ROLLED_BACK,
        _E.SUPERSEDED: _S.IDLE,
    },
    _S.DOWNLOAD: {_E.INSTALLED: _S.STAGED, _E.FAILED: _S.ROLLED_BACK, _E.SUPERSEDED: _S.IDLE},
    _S.STAGED: {_E.SELFTEST_STARTED: _S.SELFTEST, _E.FAILED: _S.ROLLED_BACK, _E.SUPERSEDED: _S.IDLE},
    _S.SELFTEST: {_E.SELFTEST_PASSED: _S.TRIAL, _E.FAILED: _S.ROLLED_BACK, _E.SUPERSEDED: _S.IDLE},
    # A newer order ends a trial too: a probation may last for hours, and an abort must not wait for it.
    _S.TRIAL: {_E.IN_CHARGE: _S.PROBATION, _E.SHADOWED: _S.IDLE, _E.FAILED: _S.ROLLED_BACK, _E.SUPERSEDED: _S.IDLE},
    _S.PROBATION: {_E.KEPT: _S.COMMITTED, _E.FAILED: _S.ROLLED_BACK, _E.SUPERSEDED: _S.IDLE},
    _S.COMMITTED: dict(_BEGIN),
    _S.ROLLED_BACK: dict(_BEGIN),
}

MAX_TRIES = 3
"""How often a trial is begun before a station that keeps stopping in it gives up."""


def step(state: UpdateState, event: UpdateEvent) -> UpdateState:
    """Return the state that follows `event` in `state`.

    Raises:
        IllegalTransition: the table has no such row.
    """
    following = TABLE[state].get(event)
    if following is None:
        raise IllegalTransition(f"'{event.value}' cannot happen to an update in {state.value}")
    return following
