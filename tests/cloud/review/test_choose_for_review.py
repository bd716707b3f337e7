"""Which kept frames a person sees."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud.review.choose import Candidate, choose_for_review

CANDIDATES = st.lists(st.tuples(st.integers(0, 12), st.floats(0, 1), st.booleans()), max_size=40).map(
    lambda rows: [Candidate(f"x{n}", f"p{part}" if part else "", c, a) for n, (part, c, a) in enumerate(rows)]
)
KNOWN = st.lists(st.integers(0, 12).map(lambda part: f"p{part}" if part else ""), max_size=4)


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
def test_audit_frames_come_first_as_drawn_then_the_least_confident_ones(
    candidates: list[Candidate], budget: int, share: float
) -> None:
    chosen = choose_for_review(candidates, (), budget, share)
    by_sample = {c.sample: c for c in candidates}
    picked = [by_sample[sample] for sample in chosen]
    first = round(budget * share)
    head = [c for c in picked[:first] if c.audit]
    assert picked[: len(head)] == head
    order = [candidates.index(c) for c in head]
    assert order == sorted(order), "audit frames are not picked over"
    hard = [c.confidence for c in picked if not c.audit]
    assert hard == sorted(hard)


@given(CANDIDATES, st.integers(0, 50), st.floats(0, 1))
def test_which_audit_frames_are_seen_does_not_depend_on_what_the_model_said(
    candidates: list[Candidate], budget: int, share: float
) -> None:
    other = [Candidate(c.sample, c.part, 1.0 - c.confidence if c.audit else c.confidence, c.audit) for c in candidates]
    assert choose_for_review(candidates, (), budget, share) == choose_for_review(other, (), budget, share)


def test_half_audit_half_hard_and_the_rest_of_the_budget_goes_to_audit() -> None:
    audit = [Candidate(f"a{n}", f"pa{n}", 0.9, True) for n in range(6)]
    hard = [Candidate(f"h{n}", f"ph{n}", 0.1 * n, False) for n in (3, 1, 2)]
    assert choose_for_review(audit + hard, (), 4, 0.5) == ["a0", "a1", "h1", "h2"]
    assert choose_for_review(audit + hard, (), 8, 0.5) == ["a0", "a1", "a2", "a3", "h1", "h2", "h3", "a4"]
    assert choose_for_review(audit + hard, ["pa0"], 2, 1.0) == ["a1", "a2"]


def test_a_frame_of_an_unknown_part_is_never_taken_for_one_that_was_seen() -> None:
    unknown = [Candidate(f"x{n}", "", 0.5, True) for n in range(3)]
    assert choose_for_review(unknown, ["", "p1"], 3, 1.0) == ["x0", "x1", "x2"]
