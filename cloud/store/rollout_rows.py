"""Rows of the rollouts, rollout_stations and desired tables, and what they say."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import msgspec
from sqlalchemy import Row, RowMapping

from cloud.ports.rollouts import Rollout, RolloutMember, StandingOrder
from cloud.rollout.rollout_states import MemberState, RolloutState
from cloud.store.tables import rollout_stations
from contract.messages import Order


def deployment_name(rollout: int, station: str, now: float) -> str:
    """Return the name of a station's order in a rollout that begins at `now`, Unix seconds.

    No rollout had it before, whose number a database that was restored or made anew may give again: a station's report of
    that one must not count for this, and a name that failed there is never tried again. Room is left in the 64 characters
    of its column for what a recall adds.
    """
    return f"r{rollout}-{round(now * 1000.0) & 0xFFFFFFFFFF:x}-{station}"[:56]


_MEMBER_STATES = {state.value: state for state in MemberState}
MEMBER_COLUMNS = [rollout_stations.c[field.name] for field in fields(RolloutMember)]
_STATE_AT = [column.name for column in MEMBER_COLUMNS].index("state")


def member_of(row: Row[Any]) -> RolloutMember:
    """Return a station of a rollout from a row of MEMBER_COLUMNS. By position: a tick reads thousands of them."""
    values = list(row)
    values[_STATE_AT] = _MEMBER_STATES[values[_STATE_AT]]
    return RolloutMember(*values)


def standing_of(row: RowMapping) -> StandingOrder:
    """Return a standing order; one that an older version stored has no facts."""
    facts = msgspec.json.decode(row["facts"], type=Order) if row["facts"] else None
    return StandingOrder(**{**row, "facts": facts})


def rollout_of(row: RowMapping) -> Rollout:
    """Return a rollout."""
    changed = tuple(msgspec.json.decode(row["changed_stations"], type=list[str]))
    return Rollout(**{**row, "state": RolloutState(row["state"]), "changed_stations": changed})
