"""Which kept frames a person sees."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cloud.review.choose import Candidate, choose_for_review
from cloud.review.why_asked import why_asked

ROWS = st.tuples(
    st.integers(0, 12),
    st.floats(0, 1),
    st.sampled_from(["audit", "hard", "novel"]),
    st.floats(0, 8),
    st.sampled_from(["", "left"]),
    st.sampled_from(["good", "scratch"]),
    st.integers(0, 3),
)
CANDIDATES = st.lists(ROWS, max_size=40).map(
    lambda rows: [
        Candidate(
            f"x{n}",
            f"p{part}" if part else "",
            sure,
            why == "audit",
            why == "novel",
            novelty,
            camera,
            label,
            60.0 * minute,
        )
        for n, (part, sure, why, novelty, camera, label, minute) in enumerate(rows)
    ]
)
KNOWN = st.lists(st.integers(0, 12).map(lambda part: f"p{part}" if part else ""), max_size=4)


def _picked(candidates: list[Candidate], chosen: list[str]) -> list[Candidate]:
    by_sample = {c.sample: c for c in candidates}
    return [by_sample[sample] for sample in chosen]


@given(CANDIDATES, KNOWN, st.integers(0, 50), st.floats(0, 1))
def test_never_more_than_the_budget_and_never_a_part_twice(
    candidates: list[Candidate], known: list[str], budget: int, share: float
) -> None:
    chosen = choose_for_review(candidates, known, budget, share)
    part_of = {c.sample: c.part for c in candidates}
    assert len(chosen) <= budget and len(set(chosen)) == len(chosen) and set(chosen) <= set(part_of)
    parts = [part_of[sample] for sample in chosen if part_of[sample]]
    assert len(set(parts)) == len(parts) and not set(parts) & set(known)


@given(CANDIDATES, KNOWN, st.integers(0, 50), st.floats(0, 1))
def test_the_budget_is_used_while_there_are_parts_left_to_look_at(
    candidates: list[Candidate], known: list[str], budget: int, share: float
) -> None:
    chosen = choose_for_review(candidates, known, budget, share)
    different = {c.part or c.sample for c in candidates} - set(filter(None, known))
    assert len(chosen) == min(budget, len(different))


@given(CANDIDATES, st.integers(0, 50), st.floats(0, 1))
def test_audit_frames_come_first_in_the_order_drawn_and_none_is_picked_over(
    candidates: list[Candidate], budget: int, share: float
) -> None:
    picked = _picked(candidates, choose_for_review(candidates, (), budget, share))
    head = [c for c in picked[: round(budget * share)] if c.audit]
    assert picked[: len(head)] == head
    order = [candidates.index(c) for c in head]
    assert order == sorted(order)
    if head:
        passed_by = [c for c in candidates[: order[-1]] if c.audit and c not in head]
        assert {c.part for c in passed_by} <= {c.part for c in head}, "only a part's second frame is left out"


@given(CANDIDATES, st.integers(0, 50), st.floats(0, 1))
def test_which_audit_frames_are_seen_does_not_depend_on_what_the_model_or_the_pixels_say(
    candidates: list[Candidate], budget: int, share: float
) -> None:
    other = [
        replace(c, confidence=1.0 - c.confidence, novelty=8.0 - c.novelty, label="other") if c.audit else c
        for c in candidates
    ]
    assert choose_for_review(candidates, (), budget, share) == choose_for_review(other, (), budget, share)


@given(CANDIDATES, st.integers(0, 50), st.floats(0, 1))
def test_of_a_kind_the_harder_and_the_stranger_come_first(
    candidates: list[Candidate], budget: int, share: float
) -> None:
    picked = _picked(candidates, choose_for_review(candidates, (), budget, share))
    for kind in {c.kind for c in picked}:
        mine = [c for c in picked if c.kind == kind and not c.audit]
        sure = [c.confidence for c in mine if not c.novel]
        strange = [c.novelty for c in mine if c.novel]
        assert sure == sorted(sure) and strange == sorted(strange, reverse=True)


@given(CANDIDATES, st.integers(0, 50))
def test_no_kind_is_shown_twice_while_another_waits_for_its_first(candidates: list[Candidate], budget: int) -> None:
    alone = [replace(c, part="", audit=False, novel=False) for c in candidates]
    picked = _picked(alone, choose_for_review(alone, (), budget, 0.0))
    shown = Counter(c.kind for c in picked)
    there = Counter(c.kind for c in alone)
    most = max(shown.values(), default=0)
    assert all(shown[kind] >= min(most - 1, there[kind]) for kind in there)


def test_ten_near_duplicates_do_not_crowd_out_the_other_labels_minutes_and_cameras() -> None:
    alike = [Candidate(f"d{n}", f"pd{n}", 0.01 * n, False, label="scratch") for n in range(10)]
    later = Candidate("later", "p1", 0.5, False, label="scratch", captured_at=90.0)
    other = Candidate("other", "p2", 0.6, False, label="good")
    left = Candidate("left", "p3", 0.7, False, label="scratch", camera="left")
    pool = [*alike, later, other, left]
    assert choose_for_review(pool, (), 5, 0.0) == ["d0", "later", "other", "left", "d1"]
    assert choose_for_review(pool, (), 3, 0.0, shown=alike[:2]) == ["later", "other", "left"]


def test_hard_and_novel_frames_come_by_turns_after_the_audit_and_the_rest_goes_to_audit() -> None:
    audit = [Candidate(f"a{n}", f"pa{n}", 0.9, True) for n in range(6)]
    hard = [Candidate(f"h{n}", f"ph{n}", 0.1 * n, False) for n in (3, 1, 2)]
    novel = [Candidate(f"n{n}", f"pn{n}", 0.9, False, True, float(n)) for n in (3, 5)]
    assert choose_for_review(audit + hard, (), 4, 0.5) == ["a0", "a1", "h1", "h2"]
    assert choose_for_review(audit + hard + novel, (), 8, 0.5) == ["a0", "a1", "a2", "a3", "h1", "n5", "h2", "n3"]
    assert choose_for_review(audit + hard, (), 8, 0.5) == ["a0", "a1", "a2", "a3", "h1", "h2", "h3", "a4"]
    assert choose_for_review(audit + hard, ["pa0"], 2, 1.0) == ["a1", "a2"]


def test_the_share_of_random_frames_is_of_all_that_people_are_shown() -> None:
    audit = [Candidate(f"a{n}", f"pa{n}", 0.9, True) for n in range(6)]
    hard = [Candidate(f"h{n}", f"ph{n}", 0.1 * n, False) for n in range(6)]
    assert choose_for_review(audit[3:] + hard[1:], (), 4, 0.5, shown=[*audit[:3], hard[0]]) == ["a3", "h1", "h2", "h3"]
    assert choose_for_review(audit[4:] + hard, (), 4, 0.5, shown=audit[:4]) == ["h0", "h1", "h2", "h3"]


def test_a_frame_of_an_unknown_part_is_never_taken_for_one_that_was_seen() -> None:
    unknown = [Candidate(f"x{n}", "", 0.5, True) for n in range(3)]
    assert choose_for_review(unknown, ["", "p1"], 3, 1.0) == ["x0", "x1", "x2"]


def test_a_person_is_told_why_in_words() -> None:
    assert why_asked("audit").startswith("drawn at random")
    assert why_asked("hard", 7.0) == "the model was unsure"
    assert why_asked("novel", 2.46) == "unlike anything its camera enrolled (2.5 where an ordinary part is 1)"
    assert why_asked("a later reason") == "kept by its station: a later reason"
