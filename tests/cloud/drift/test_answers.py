"""What is remembered of a series' answers."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.drift.answers import FIRST, LATEST, AnswerState, decode_answers, encode_answers, start_anew, take_window
from contract.errors import BadMessage
from tests.cloud.drift.conftest import StationLine

OLD, NEW = "a" * 64, "b" * 64


def after(windows: int, state: AnswerState | None = None, bundle: str = OLD, seed: int = 0) -> AnswerState:
    line, state = StationLine(seed=seed), state or AnswerState()
    for _ in range(windows):
        state = take_window(state, state.row + 1, bundle, "boot1", state.seq + 1, line.window())
    return state


def test_the_first_windows_are_summed_and_the_latest_kept_one_by_one() -> None:
    state = after(60)
    assert (state.first_windows, len(state.latest)) == (FIRST, LATEST)
    assert sum(state.first.labels) == sum(state.first.confidences) == FIRST * 32
    assert state.label_windows().shape == (LATEST, 4) and int(state.confidences().sum()) == LATEST * 32
    assert AnswerState().label_windows().shape == (0, 0) and AnswerState().confidences().shape == (64,)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=40))
def test_rows_read_again_after_a_crash_count_once(rows: list[int]) -> None:
    windows = {row: StationLine(seed=row).window() for row in range(1, 13)}
    state, rising = AnswerState(), AnswerState()
    for row in rows:
        state = take_window(state, row, OLD, "boot1", row, windows[row])
    highest = 0
    for row in rows:
        if row > highest:
            highest = row
            rising = take_window(rising, row, OLD, "boot1", row, windows[row])
    assert state == rising and decode_answers(encode_answers(state)) == state


def test_another_bundle_starts_anew_and_a_late_window_of_the_old_one_changes_nothing() -> None:
    state = after(3, after(30), bundle=NEW)
    assert (state.bundle, state.first_windows, len(state.latest)) == (NEW, 3, 3)
    late = take_window(state, state.row + 1, OLD, "boot1", 1, StationLine().window())
    assert msgspec.structs.replace(late, row=state.row) == state
    back = take_window(state, state.row + 1, OLD, "boot1", 99, StationLine().window())
    assert (back.bundle, len(back.latest)) == (OLD, 1), "a rollback is no late window"


def test_enrolled_again_it_forgets_all_but_what_runs() -> None:
    state = start_anew(after(30), since=77.0)
    assert (state.since, state.bundle, state.first_windows, state.latest) == (77.0, OLD, 0, ())
    assert after(2, state).since == 77.0 and after(2, state, bundle=NEW).since == 77.0


@given(st.binary(max_size=80))
def test_bytes_that_are_no_state_are_refused(payload: bytes) -> None:
    try:
        state = decode_answers(payload)
    except BadMessage as error:
        assert error.hint
    else:
        assert state.confidences().shape == (64,)


def test_states_of_other_shapes_are_refused() -> None:
    state = after(2)
    short = msgspec.structs.replace(state.latest[0], confidences=(1, 2))
    odd = msgspec.structs.replace(state.latest[0], labels=(1, 2))
    for broken in ((short, state.latest[1]), (odd, state.latest[1])):
        with pytest.raises(BadMessage, match="other"):
            decode_answers(encode_answers(msgspec.structs.replace(state, latest=broken)))
