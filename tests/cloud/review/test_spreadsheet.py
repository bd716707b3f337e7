"""What people wrote stays text in a spreadsheet, and is read back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.review.spreadsheet import guarded, unguarded


@given(st.text(alphabet="'=+-@\t\r a1", max_size=8) | st.text(max_size=20))
def test_what_is_written_is_read_back_and_never_begins_as_a_formula_does(text: str) -> None:
    cell = guarded(text)
    assert unguarded(cell) == text and not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("text", ["scratch", "", "'quoted'", "a=b", "1-2"])
def test_what_is_no_formula_is_left_as_it_is(text: str) -> None:
    assert guarded(text) == text == unguarded(text)
