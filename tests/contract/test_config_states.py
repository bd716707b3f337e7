from __future__ import annotations

import pytest

from contract.config_states import TABLE, ConfigEvent, ConfigState, settings_digest, step
from contract.errors import IllegalTransition


def test_every_state_has_a_row_and_every_event_is_in_one() -> None:
    assert set(TABLE) == set(ConfigState)
    assert {event for row in TABLE.values() for event in row} == set(ConfigEvent)


def test_the_straight_line_ends_committed_across_the_new_start() -> None:
    state = ConfigState.IDLE
    for name in ("ORDER_ACCEPTED", "BEGUN"):
        state = step(state, ConfigEvent[name])
    assert state is ConfigState.TRIAL
    state = ConfigState.IDLE
    for name in ("RESTARTED", "STARTED", "KEPT"):
        state = step(state, ConfigEvent[name])
    assert state is ConfigState.COMMITTED


@pytest.mark.parametrize("state", ConfigState)
@pytest.mark.parametrize("event", ConfigEvent)
def test_an_event_without_a_row_is_refused_and_changes_nothing(state: ConfigState, event: ConfigEvent) -> None:
    before = {each: dict(row) for each, row in TABLE.items()}
    if event in TABLE[state]:
        assert step(state, event) is TABLE[state][event]
    else:
        with pytest.raises(IllegalTransition, match=state.value):
            step(state, event)
    assert before == {each: dict(row) for each, row in TABLE.items()}


def test_only_a_probation_leads_to_committed_and_what_is_on_trial_cannot_be_superseded() -> None:
    into = {state for state, row in TABLE.items() if ConfigState.COMMITTED in row.values()}
    assert into == {ConfigState.PROBATION}
    for state in (ConfigState.TRIAL, ConfigState.PROBATION):
        assert ConfigEvent.SUPERSEDED not in TABLE[state]


def test_settings_are_named_by_their_text_and_none_by_nothing() -> None:
    assert settings_digest("") == ""
    assert len({settings_digest("a = 1"), settings_digest("a = 1\n")}) == 2
    assert settings_digest("\ud800")
