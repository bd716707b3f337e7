from __future__ import annotations

import pytest

from contract.errors import IllegalTransition
from contract.update_states import TABLE, UpdateEvent, UpdateState, step


def test_every_state_has_a_row_and_every_row_leads_to_a_state() -> None:
    assert set(TABLE) == set(UpdateState)
    assert {event for row in TABLE.values() for event in row} == set(UpdateEvent)


def test_the_straight_line_ends_committed() -> None:
    events = ["ORDER_ACCEPTED", "TARGET_FOUND", "INSTALLED", "SELFTEST_STARTED", "SELFTEST_PASSED", "IN_CHARGE", "KEPT"]
    state = UpdateState.IDLE
    for name in events:
        state = step(state, UpdateEvent[name])
    assert state is UpdateState.COMMITTED


@pytest.mark.parametrize("state", UpdateState)
@pytest.mark.parametrize("event", UpdateEvent)
def test_an_event_without_a_row_is_refused_and_changes_nothing(state: UpdateState, event: UpdateEvent) -> None:
    before = {each: dict(row) for each, row in TABLE.items()}
    if event in TABLE[state]:
        assert step(state, event) is TABLE[state][event]
    else:
        with pytest.raises(IllegalTransition, match=state.value):
            step(state, event)
    assert before == {each: dict(row) for each, row in TABLE.items()}


def test_only_probation_and_a_bundle_that_runs_already_lead_to_committed() -> None:
    into = {
        (state, event) for state, row in TABLE.items() for event, end in row.items() if end is UpdateState.COMMITTED
    }
    assert {event for _, event in into} == {
        UpdateEvent.KEPT,
        UpdateEvent.ALREADY_RUNNING,
        UpdateEvent.NOTHING_TO_RUN,
    }
    assert (UpdateState.PROBATION, UpdateEvent.KEPT) in into


def test_everything_under_way_can_be_superseded_and_nothing_that_ended() -> None:
    for state, row in TABLE.items():
        ended = state in (UpdateState.COMMITTED, UpdateState.ROLLED_BACK)
        assert (UpdateEvent.SUPERSEDED in row) is not ended
