"""The states of one change of a station's remote settings. Everything that affects the state machine lives here (DESIGN 6).

IDLE -> CHECKED -> TRIAL -> PROBATION -> COMMITTED | ROLLED_BACK; REFUSED

IDLE         nothing to do
CHECKED      the order is genuine and its settings could be agent.toml's
TRIAL        they are on the disk as a trial; the station starts anew with them
PROBATION    the station runs with them, and is watched
COMMITTED    they are the station's settings
ROLLED_BACK  they are not, and this (settings, deployment) is banned
REFUSED      the order is not followed; nothing has changed

A missing row is the error: `step` raises IllegalTransition and nothing has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum

from contract.errors import IllegalTransition

MAX_SETTINGS_BYTES = 16 * 1024
"""Of the TOML text of an order, in UTF-8: agent.toml with every key and its comments is a third of it."""

MAX_CONFIG_TRIES = 3
"""How often a station is started with settings on trial before one that keeps stopping gives them up."""

MIN_PROBATION_S, MAX_PROBATION_S = 2.0, 900.0
"""Of a probation. Shorter shows nothing; longer keeps a bundle waiting that may be an urgent roll-back."""


class ConfigState(str, Enum):
    """Where a change of settings stands; the value is what a station reports."""

    IDLE = "IDLE"
    CHECKED = "CHECKED"
    TRIAL = "TRIAL"
    PROBATION = "PROBATION"
    COMMITTED = "COMMITTED"
    ROLLED_BACK = "ROLLED_BACK"
    REFUSED = "REFUSED"


class ConfigEvent(str, Enum):
    """What can happen to a change of settings."""

    ORDER_ACCEPTED = "order accepted"
    ORDER_REFUSED = "order refused"
    BEGUN = "begun"
    RESTARTED = "restarted"
    STARTED = "started"
    KEPT = "kept"
    FAILED = "failed"
    SUPERSEDED = "superseded"


_S, _E = ConfigState, ConfigEvent

_BEGIN = {_E.ORDER_ACCEPTED: _S.CHECKED, _E.ORDER_REFUSED: _S.REFUSED}

TABLE: Mapping[ConfigState, Mapping[ConfigEvent, ConfigState]] = {
    # A restart finds the trial on the disk, whatever was in memory, so IDLE can resume one (or give it up).
    _S.IDLE: {**_BEGIN, _E.RESTARTED: _S.TRIAL, _E.FAILED: _S.ROLLED_BACK},
    _S.CHECKED: {_E.BEGUN: _S.TRIAL, _E.FAILED: _S.ROLLED_BACK, _E.SUPERSEDED: _S.IDLE},
    # From here a newer order waits for the outcome: what the line runs with is only ever kept or rolled back.
    _S.TRIAL: {_E.STARTED: _S.PROBATION, _E.FAILED: _S.ROLLED_BACK},
    _S.PROBATION: {_E.KEPT: _S.COMMITTED, _E.FAILED: _S.ROLLED_BACK},
    _S.COMMITTED: dict(_BEGIN),
    _S.ROLLED_BACK: dict(_BEGIN),
    _S.REFUSED: dict(_BEGIN),
}


def step(state: ConfigState, event: ConfigEvent) -> ConfigState:
    """Return the state that follows `event` in `state`.

    Raises:
        IllegalTransition: the table has no such row.
    """
    following = TABLE[state].get(event)
    if following is None:
        raise IllegalTransition(f"'{event.value}' cannot happen to settings in {state.value}")
    return following


def settings_digest(settings: str) -> str:
    """Return the name of remote settings: the SHA-256 of their text in hex, "" for none."""
    return hashlib.sha256(settings.encode(errors="surrogatepass")).hexdigest() if settings else ""
