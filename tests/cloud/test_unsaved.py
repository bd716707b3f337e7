"""What has to be read again after a restart, whatever was stored when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud.unsaved import MOST_WINDOWS, SAVE_EVERY_S, Unsaved

_SERIES = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.one_of(st.tuples(st.just("saw"), _SERIES), st.tuples(st.just("save"), st.sets(_SERIES)))))
def test_no_window_of_a_series_that_is_not_stored_lies_at_or_before_the_row_recorded_as_read(acts: list) -> None:
    unsaved: Unsaved[int] = Unsaved()
    row, recorded, rows = 0, 0, {each: [] for each in "abc"}
    for act, what in acts:
        if act == "saw":
            unsaved.saw(what, row, float(row))
            row += 1
            rows[what].append(row)
        else:
            before = recorded
            recorded = unsaved.read_up_to(row, what)
            unsaved.saved(what)
            for each in what:
                rows[each].clear()
            assert before <= recorded <= row
        left = [each for waiting in rows.values() for each in waiting]
        assert unsaved.read_up_to(row) == (min(left) - 1 if left else row)
        assert all(each > recorded for each in left)


def test_a_state_is_stored_when_many_windows_changed_it_or_some_time_ago() -> None:
    unsaved: Unsaved[int] = Unsaved()
    unsaved.saw("slow", 0, 1000.0)
    for row in range(1, MOST_WINDOWS):
        unsaved.saw("fast", row, 1000.0)
    assert unsaved.due(1000.0) == set()
    unsaved.saw("fast", MOST_WINDOWS, 1000.0)
    assert unsaved.due(1000.0) == {"fast"} and unsaved.all() == {"slow", "fast"}
    assert unsaved.due(1000.0 + SAVE_EVERY_S) == {"slow", "fast"}
    assert unsaved.due(1000.0 - SAVE_EVERY_S) == {"slow", "fast"}
