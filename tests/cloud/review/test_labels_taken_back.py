"""A label that its giver takes back was never given; and what may be said of a part at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.review.agreement import ActKind, LabelAct, Standing, newest_label, outcome, standing_acts
from cloud.review.label_choice import KEYS, LabelChoice, is_right, said_labels
from cloud.review.labellers import agreement
from contract.errors import RefusedError


def act(at: float, who: str, label: str, kind: ActKind = ActKind.LABEL) -> LabelAct:
    return LabelAct(at, who, label, kind)


def undo(at: float, who: str, label: str) -> LabelAct:
    return LabelAct(at, who, label, ActKind.UNDO)


@pytest.mark.parametrize(
    ("acts", "standing", "truth"),
    [
        ([act(1, "ann", "good"), undo(2, "ann", "good")], Standing.OPEN, None),
        ([act(1, "ann", "dent"), act(2, "ann", "good"), undo(3, "ann", "good")], Standing.LABELLED, "dent"),
        ([act(1, "ann", "good"), act(2, "bob", "dent"), undo(3, "bob", "dent")], Standing.LABELLED, "good"),
        ([act(1, "ann", "good"), undo(2, "bob", "good")], Standing.LABELLED, "good"),
        ([undo(1, "ann", "good"), act(2, "ann", "good")], Standing.LABELLED, "good"),
        ([act(1, "ann", "good", ActKind.RESOLVE), undo(2, "ann", "good")], Standing.LABELLED, "good"),
        ([act(1, "ann", "good"), act(2, "ian", "", ActKind.RETURN), undo(3, "ann", "good")], Standing.RETURNED, None),
        # It takes back what it names, also where an import brought an older label of the same person in between.
        ([act(1, "ann", "good"), act(2, "ann", "dent"), undo(3, "ann", "good")], Standing.LABELLED, "dent"),
    ],
)
def test_what_is_taken_back_counts_for_nothing(acts: list[LabelAct], standing: Standing, truth: str | None) -> None:
    found = outcome(acts)
    assert (found.standing, found.truth) == (standing, truth)


PEOPLE, LABELS = ("ann", "bob", "eva"), ("good", "scratch")
ACTS = st.lists(
    st.builds(
        LabelAct,
        st.integers(0, 8).map(float),
        st.sampled_from(PEOPLE),
        st.sampled_from(LABELS),
        st.sampled_from([ActKind.LABEL] * 3 + [ActKind.UNDO] * 2 + [ActKind.RESOLVE, ActKind.RETURN]),
    ),
    max_size=12,
)


@given(ACTS, st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing_with_labels_taken_back(acts: list[LabelAct], random: object) -> None:
    shuffled = [*acts, *acts[: len(acts) // 2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert outcome(shuffled) == outcome(acts)
    assert all(each.kind is not ActKind.UNDO for each in standing_acts(acts))


@given(ACTS, st.sampled_from(PEOPLE), st.sampled_from(LABELS))
def test_to_label_and_take_it_back_leaves_everything_as_it_was(acts: list[LabelAct], who: str, label: str) -> None:
    later = [act(20.0, who, label), undo(21.0, who, label)]
    assert outcome([*acts, *later]) == outcome(acts)


@given(ACTS, st.sampled_from(PEOPLE))
def test_each_undo_takes_back_one_label_of_its_person_and_of_nobody_else(acts: list[LabelAct], who: str) -> None:
    found = newest_label(acts, who)
    if found is None:
        return
    before = standing_acts(acts)
    after = standing_acts([*acts, undo(30.0, who, found.label)])
    assert sorted([*after, found]) == before and found.labeller == who and found.kind is ActKind.LABEL


def test_a_label_taken_back_is_no_first_label_of_anybody() -> None:
    found = agreement(
        {"x": [act(1, "ann", "dent"), undo(2, "ann", "dent"), act(3, "ann", "good"), act(4, "bob", "good")]}
    )
    assert (found.images, found.agreed) == (1, 1)
    assert [each.labeller for each in agreement({"x": [act(1, "ann", "dent"), undo(2, "ann", "dent")]}).labellers] == []


ONE = LabelChoice(("good", "dent", "scratch"), frozenset({"good"}))
SEVERAL = LabelChoice(("good", "dent", "scratch"), frozenset({"good"}), several=True)


def test_several_labels_are_one_word_in_the_models_order_where_they_do_not_exclude_each_other() -> None:
    assert SEVERAL.check("scratch;dent") == SEVERAL.check("dent ; scratch;dent") == "dent;scratch"
    assert SEVERAL.check("good") == ONE.check("good") == "good" and LabelChoice().check("any;thing") == "any;thing"
    assert said_labels("dent;scratch") == ("dent", "scratch")
    assert is_right("dent", "dent;scratch") and is_right("a;b", "a;b") and not is_right("good", "dent;scratch")
    assert not is_right("good", None)
    for choice, label, why in (
        (ONE, "dent;scratch", "no label of the running model"),
        (SEVERAL, "good;dent", "is good and has a defect"),
        (SEVERAL, "dent;rust", "'rust' is no label"),
        (SEVERAL, "dent;", "'' is no label"),
        (ONE, "=cmd()", "use one of: good, dent, scratch"),
    ):
        with pytest.raises(RefusedError) as refused:
            choice.check(label)
        assert why in refused.value.one_line()
    long = LabelChoice(tuple(f"{n:040d}" for n in range(4)), several=True)
    with pytest.raises(RefusedError, match="more than 120"):
        long.check(";".join(long.names))


@given(st.lists(st.sampled_from(["dent", "scratch", "rust"]), min_size=1), st.randoms(use_true_random=False))
def test_the_same_labels_in_any_order_are_the_same_word(said: list[str], random: object) -> None:
    choice = LabelChoice(("rust", "good", "dent", "scratch"), frozenset({"good"}), several=True)
    shuffled = list(said)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    joined = choice.check(";".join(said))
    assert joined == choice.check(";".join(shuffled)) == choice.check(joined) and set(said_labels(joined)) == set(said)


def test_a_label_has_the_same_key_always_and_no_key_has_two_meanings() -> None:
    keys = LabelChoice(tuple(f"label {n}" for n in range(50))).keys()
    assert len(keys) == len(KEYS) == len(set(KEYS)) and not set(KEYS) & set("ouz0 ")
    assert keys["1"] == "label 0" and keys["9"] == "label 8" and keys["a"] == "label 9"
