"""What several people's labels come to, and how often they agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.review.agreement import ActKind, LabelAct, Outcome, Standing, outcome, wants_second_look
from cloud.review.labellers import agreement, cohen_kappa


def say(*words: str) -> list[LabelAct]:
    """Return acts a second apart: "ann good", "ann! good" (settles it), "ann <" (sends it back)."""
    acts = []
    for at, word in enumerate(words):
        who, _, label = word.partition(" ")
        kind = ActKind.RETURN if label == "<" else ActKind.RESOLVE if who.endswith("!") else ActKind.LABEL
        acts.append(LabelAct(float(at), who.rstrip("!"), label.replace("<", ""), kind))
    return acts


@pytest.mark.parametrize(
    ("acts", "standing", "truth", "whose", "at"),
    [
        (say(), Standing.OPEN, None, None, None),
        (say("ann good"), Standing.LABELLED, "good", "ann", 0.0),
        (say("ann good", "ann scratch"), Standing.LABELLED, "scratch", "ann", 1.0),
        (say("ann good", "bob good"), Standing.LABELLED, "good", "ann", 0.0),
        (say("ann good", "bob scratch"), Standing.DISPUTED, None, None, None),
        (say("ann good", "bob scratch", "bob good"), Standing.LABELLED, "good", "bob", 2.0),
        (say("ann good", "bob scratch", "eva scratch"), Standing.LABELLED, "scratch", "eva", 2.0),
        (say("ann good", "bob scratch", "eva dent"), Standing.DISPUTED, None, None, None),
        (say("ann good", "bob scratch", "eva! dent"), Standing.LABELLED, "dent", "eva", 2.0),
        (say("ann good", "eva! dent", "bob good", "ian good"), Standing.LABELLED, "dent", "eva", 1.0),
        (say("ann good", "bob <"), Standing.RETURNED, None, None, None),
        (say("ann good", "bob <", "eva good"), Standing.LABELLED, "good", "eva", 2.0),
        (say("ann good", "bob <", "eva dent"), Standing.DISPUTED, None, None, None),
        (say("ann! good", "bob <"), Standing.RETURNED, None, None, None),
        (say("ann! good", "bob <", "eva! dent"), Standing.LABELLED, "dent", "eva", 2.0),
    ],
)
def test_a_label_stands_while_more_than_half_say_so(
    acts: list[LabelAct], standing: Standing, truth: str | None, whose: str | None, at: float | None
) -> None:
    found = outcome(acts)
    assert (found.standing, found.truth, found.labeller, found.at) == (standing, truth, whose, at)


ACTS = st.lists(
    st.builds(
        LabelAct,
        st.integers(0, 5).map(float),
        st.sampled_from(["ann", "bob", "eva", "ian"]),
        st.sampled_from(["good", "scratch", "dent"]),
        st.sampled_from([ActKind.LABEL] * 4 + [ActKind.RESOLVE, ActKind.RETURN]),
    ),
    max_size=10,
)


@given(ACTS, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_of_acts_changes_what_they_come_to(acts: list[LabelAct], random: object) -> None:
    shuffled = list(acts) + list(acts[: len(acts) // 2])
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert outcome(shuffled) == outcome(acts)


@given(ACTS)
def test_a_truth_is_somebodys_word_and_nothing_without_a_truth_counts_as_labelled(acts: list[LabelAct]) -> None:
    found = outcome(acts)
    assert (found.standing is Standing.LABELLED) == (found.truth is not None) == (found.labeller is not None)
    if found.truth is not None:
        assert any(act.label == found.truth and act.kind is not ActKind.RETURN for act in acts)
        assert any((act.labeller, act.at) == (found.labeller, found.at) for act in acts)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["good", "dent"])), max_size=8))
def test_without_a_last_word_a_label_stands_if_more_than_half_of_the_newest_labels_are_it(
    given_labels: list[tuple[str, str]],
) -> None:
    found = outcome([LabelAct(float(at), who, label) for at, (who, label) in enumerate(given_labels)])
    newest = dict(given_labels)
    expected = [label for label in ("good", "dent") if 2 * list(newest.values()).count(label) > len(newest)]
    assert ([found.truth] if found.truth else []) == expected


def test_a_share_of_what_one_person_labelled_is_for_a_second_the_same_each_time() -> None:
    once = outcome(say("ann good"))
    names = [f"x{number}" for number in range(2000)]
    chosen = [name for name in names if wants_second_look(name, once, 0.1)]
    assert 140 < len(chosen) < 260
    assert chosen == [name for name in names if wants_second_look(name, once, 0.1)]
    assert set(chosen) <= {name for name in names if wants_second_look(name, once, 0.3)}, "a larger share keeps them"
    assert [wants_second_look(name, once, 0.0) for name in names[:50]] == [False] * 50
    assert all(wants_second_look(name, once, 1.0) for name in names[:50])
    for other in (say(), say("ann good", "bob good"), say("ann good", "bob dent"), say("ann good", "bob! good")):
        assert not wants_second_look("x1", outcome(other), 1.0)
    assert Outcome(Standing.OPEN) == outcome([])


def test_kappa_takes_off_what_chance_would_give() -> None:
    # Cohen 1960's way on the table 20, 5 / 10, 15: observed .7, by chance .5, so .4.
    answers = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohen_kappa(answers) == pytest.approx(0.4)
    assert cohen_kappa([("y", "y"), ("n", "n")]) == 1.0 and cohen_kappa([("y", "n"), ("n", "y")]) == -1.0
    assert cohen_kappa([]) is None and cohen_kappa([("y", "y")]) is None


def test_agreement_is_told_of_everybody_each_labeller_and_each_pair() -> None:
    found = agreement(
        {
            "x1": say("ann good", "bob good"),
            "x2": say("ann dent", "bob good", "eva dent"),  # a third asked because two disagreed tells nothing
            "x3": say("bob dent", "ann good", "bob good"),  # nor does a label changed afterwards
            "x4": say("eva dent", "ann dent"),
            "x5": say("ann good", "bob! dent"),
            "x6": say("eva good"),
        }
    )
    assert (found.images, found.agreed, found.raw) == (4, 2, 0.5)
    assert [(p.first, p.second, p.images, p.agreed) for p in found.pairs] == [
        ("ann", "bob", 3, 1),
        ("ann", "eva", 1, 1),
    ]
    assert [(e.labeller, e.labelled, e.images, e.agreed) for e in found.labellers] == [
        ("ann", 5, 4, 2), ("bob", 3, 3, 1), ("eva", 3, 1, 1),
    ]  # fmt: skip
    assert found.kappa == found.pairs[0].kappa == pytest.approx(-0.5) and found.pairs[1].kappa is None
    assert agreement({}).raw is None and agreement({"x": say("ann good")}).kappa is None
