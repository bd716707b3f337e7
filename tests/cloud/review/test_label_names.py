"""Names of labels, whatever they hold, come out of what is stored as they went in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.review.label_choice import LabelChoice, is_right, said_labels, stored
from contract.errors import RefusedError

NAMES = st.text("ab;\",' ", min_size=1, max_size=8).filter(lambda name: name == name.strip())


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_what_is_stored_names_the_same_labels(names: list[str]) -> None:
    assert said_labels(stored(names)) == said_labels(stored(names, always=True)) == tuple(names)


@given(st.lists(NAMES.filter(lambda name: not name.startswith('"')), min_size=2, max_size=6, unique=True), st.data())
def test_what_is_said_is_stored_once_and_for_all(names: list[str], data: st.DataObject) -> None:
    choice = LabelChoice(tuple(names), several=True)
    said = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    kept = choice.check_all(said)
    assert set(said_labels(kept)) == set(said) and choice.check(kept) == kept
    assert all(is_right(name, kept) for name in said)
    assert choice.check(names[0]) == choice.check_all([names[0]]), "a name is a name, whatever it holds"


def test_a_name_that_reads_like_two_others_is_told_from_them() -> None:
    choice = LabelChoice(("a;b", "a", "b"), several=True)
    assert said_labels(choice.check("a;b")) == ("a;b",)
    both = choice.check_all(["b", "a"])
    assert said_labels(both) == ("a", "b") and choice.check(both) == both != choice.check("a;b")
    assert is_right("a", both) and not is_right("a", choice.check("a;b"))


def test_one_label_a_part_takes_no_two() -> None:
    choice = LabelChoice(("good", "a;b", "c"), frozenset({"good"}))
    assert said_labels(choice.check("a;b")) == ("a;b",)
    with pytest.raises(RefusedError, match="one label of this model"):
        choice.check_all(["a;b", "c"])
    with pytest.raises(RefusedError, match="no label of the running model"):
        choice.check("good;c")
    with pytest.raises(RefusedError, match="'' is no label"):
        choice.check_all([])
