"""The two state machines of a rollout."""

from __future__ import annotations

import pytest

from cloud.rollout.rollout_states import (
    MEMBER_TABLE,
    ROLLOUT_TABLE,
    MemberEvent,
    MemberState,
    RolloutEvent,
    RolloutState,
    step_member,
    step_rollout,
)
from contract.errors import IllegalTransition


def test_every_rollout_event_follows_the_table_and_any_other_raises_and_changes_nothing() -> None:
    before = {state: dict(rows) for state, rows in ROLLOUT_TABLE.items()}
    for state in RolloutState:
        for event in RolloutEvent:
            if event in ROLLOUT_TABLE[state]:
                assert step_rollout(state, event) is ROLLOUT_TABLE[state][event]
            else:
                with pytest.raises(IllegalTransition, match=f"{state.value} cannot '{event.value}'"):
                    step_rollout(state, event)
    assert before == ROLLOUT_TABLE


def test_every_member_event_follows_the_table_and_any_other_raises_and_changes_nothing() -> None:
    before = {state: dict(rows) for state, rows in MEMBER_TABLE.items()}
    for state in MemberState:
        for event in MemberEvent:
            if event in MEMBER_TABLE[state]:
                assert step_member(state, event) is MEMBER_TABLE[state][event]
            else:
                with pytest.raises(IllegalTransition, match=f"{state.value} cannot '{event.value}'"):
                    step_member(state, event)
    assert before == MEMBER_TABLE


def test_an_aborted_rollout_never_becomes_done_and_what_is_over_stays_over() -> None:
    reachable, todo = set(), [RolloutState.ABORTING]
    while todo:
        for following in ROLLOUT_TABLE[todo.pop()].values():
            reachable.add(following)
            todo.append(following)
    assert reachable == {RolloutState.ABORTED}
    assert ROLLOUT_TABLE[RolloutState.DONE] == ROLLOUT_TABLE[RolloutState.ABORTED] == {}


def test_every_station_that_was_ordered_can_be_recalled() -> None:
    for state in (MemberState.ORDERED, MemberState.COMMITTED, MemberState.FAILED):
        assert step_member(state, MemberEvent.RECALL) is MemberState.RECALLED
