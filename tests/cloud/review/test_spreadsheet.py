"""What people wrote stays text in a spreadsheet, and is read back as it was."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.review.spreadsheet import guarded, unguarded

FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


@given(st.text(alphabet="'=+-@;\t\r\n ＝a1", max_size=8) | st.text(max_size=20))
def test_what_is_written_is_read_back_and_never_begins_as_a_formula_does(text: str) -> None:
    cell = guarded(text)
    assert unguarded(cell) == text and not cell.startswith(("\t", "\r", "\n"))
    for part in re.split(r"[;\t\r\n]", cell):
        assert not part.lstrip().startswith(FORMULA)


@pytest.mark.parametrize("text", ["scratch", "", "'quoted'", "a=b", "1-2", "dent;scratch", "rollout 3 = v2"])
def test_what_is_no_formula_is_left_as_it_is(text: str) -> None:
    assert guarded(text) == text == unguarded(text)


@pytest.mark.parametrize("part", ["=cmd|' /C calc'!A0", "x;=cmd|' /C calc'!A0;y", " =1", "\t=1", "x\n=1+1\ny", "＝1+1"])
def test_no_language_of_the_spreadsheet_finds_a_formula_in_a_line(part: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(["x0", "line1", guarded(part), "good"])
    for separator in ",;\t":
        for row in csv.reader(io.StringIO(text.getvalue(), newline=""), delimiter=separator):
            assert not any(cell.lstrip().startswith(FORMULA) for cell in row), (separator, row)
