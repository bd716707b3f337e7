"""The state machine of OPC 40100-1 as a table: it agrees with the standard's, and what is not in it changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.line_io.opcua_states import METHODS, OPERATIONAL, TABLE, TRANSITIONS, Cause, State, move
from contract.errors import IllegalTransition

NAMES = {state.value[0]: state.value[1] for state in State} | {OPERATIONAL[0]: OPERATIONAL[1]}


def test_transition_numbers_are_made_as_the_standard_makes_them() -> None:
    # From, to, and 0 for the system's own or 1, 2 for the first or second method (OPC 40100-1, tables 84 and 98).
    for each in TRANSITIONS:
        assert each.number // 100 == NAMES[each.origin], each.name
        assert each.number // 10 % 10 == NAMES[each.target], each.name
        assert (each.number % 10 == 0) == each.name.endswith("Auto"), each.name
    assert len({each.node for each in TRANSITIONS} | {state.value[2] for state in State}) == len(TRANSITIONS) + len(
        State
    )


def test_every_row_goes_by_transitions_that_meet() -> None:
    for state, row in TABLE.items():
        for cause, (target, transitions) in row.items():
            at = OPERATIONAL[0] if transitions and transitions[0].origin == OPERATIONAL[0] else state.value[0]
            for each in transitions:
                assert at in (each.origin, OPERATIONAL[0]), (state, cause)
                at = each.target
            if transitions:
                assert at in (target.value[0], OPERATIONAL[0]), (state, cause)


def test_the_ways_that_the_standard_names() -> None:
    assert move(State.PREOPERATIONAL, Cause.SELECT_MODE_AUTOMATIC)[0] is State.INITIALIZED
    assert move(State.INITIALIZED, Cause.READY)[0] is State.READY
    assert move(State.READY, Cause.START_SINGLE_JOB)[0] is State.SINGLE
    assert move(State.SINGLE, Cause.DONE)[0] is State.READY
    assert move(State.SINGLE, Cause.FAILED)[0] is State.ERROR
    assert all(Cause.RESET in row for row in TABLE.values())  # 8.2.2.2: Reset shall always be executable
    assert all(move(state, Cause.RESET)[0] is State.PREOPERATIONAL for state in State)
    assert all(move(state, Cause.HALT)[0] is State.HALTED for state in State if state is not State.HALTED)


@pytest.mark.parametrize("state", [state for state in State if state is not State.READY])
def test_a_job_starts_in_ready_only(state: State) -> None:
    for cause in (Cause.START_SINGLE_JOB, Cause.START_CONTINUOUS):
        with pytest.raises(IllegalTransition):
            move(state, cause)


@given(st.lists(st.sampled_from(list(Cause))))
def test_from_wherever_it_is_the_way_back_is_open(causes: list[Cause]) -> None:
    state = State.PREOPERATIONAL
    for cause in causes:
        try:
            state = move(state, cause)[0]
        except IllegalTransition:
            assert cause is not Cause.RESET
    for cause in (Cause.RESET, Cause.SELECT_MODE_AUTOMATIC, Cause.READY, Cause.START_SINGLE_JOB):
        state = move(state, cause)[0]
    assert state is State.SINGLE
    assert {cause.value for cause in METHODS} >= {"Halt", "Reset", "SelectModeAutomatic", "StartSingleJob", "Stop"}
