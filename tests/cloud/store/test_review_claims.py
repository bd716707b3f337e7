"""Labels taken back, and which part is before whom, in a real database of either kind."""

from __future__ import annotations

import threading

import pytest

from cloud.review.agreement import ActKind, Standing
from cloud.store.review_claims import LEASE_S, ReviewClaims
from cloud.store.samples import Samples
from contract.errors import NotFound, RefusedError
from tests.fakes.cloud_tables import T0, Tables, note, received, summary


@pytest.fixture
def kept(tables: Tables) -> Tables:
    notes = tuple(note(f"x{n}", at=T0 + n) for n in range(4))
    tables.summaries.commit(received(summary("s1", 1, samples=notes)), [])
    for number in range(4):
        tables.samples.mark_requested([f"x{number}"], 7, T0 + number)
        if number < 3:
            tables.samples.mark_received(f"x{number}", "s1", f"{number}" * 64, T0 + 10)
    return tables


def names(samples: Samples, labeller: str = "") -> list[str]:
    return [each.sample for each in samples.waiting(10, labeller)]


def test_a_label_taken_back_is_kept_and_the_part_waits_again_also_for_who_gave_it(kept: Tables) -> None:
    samples = Samples(kept.database, 1.0)
    samples.label("x1", "good", "ann", T0 + 20)
    assert names(samples, "ann") == ["x0", "x2"] and samples.labels.last_of("ann", T0) == "x1"
    label, found = samples.labels.take_back("x1", "ann", T0 + 21)
    assert (label, found.standing, samples.get("x1").truth) == ("good", Standing.OPEN, None)
    assert names(samples, "ann") == names(samples, "bob") == ["x0", "x1", "x2"], "and nobody gives a second look"
    assert [(a.label, a.kind) for a in samples.labels.of("x1")] == [("good", ActKind.LABEL), ("good", ActKind.UNDO)]
    assert [e.act for e in kept.audit.entries()] == ["label", "undo"]
    with pytest.raises(RefusedError, match="no label of ann stands"):
        samples.labels.take_back("x1", "ann", T0 + 22)
    with pytest.raises(NotFound):
        samples.labels.take_back("y9", "ann", T0 + 22)
    samples.label("x1", "scratch", "ann", T0 + 23)
    assert samples.get("x1").truth == "scratch" and names(samples, "ann") == ["x0", "x2"]


def test_the_last_label_is_found_across_parts_and_without_what_was_taken_back_or_imported(kept: Tables) -> None:
    labels = kept.samples.labels
    assert labels.last_of("ann", T0) is None and labels.given_since("ann", T0) == 0
    for number, sample in enumerate(("x0", "x1", "x2")):
        kept.samples.label(sample, "good", "ann", T0 + 20 + number)
    kept.samples.label("x0", "good", "bob", T0 + 30)
    assert (labels.given_since("ann", T0), labels.given_since("ann", T0 + 21), labels.last_of("ann", T0)) == (
        3,
        2,
        "x2",
    )
    assert labels.last_of("ann", T0 + 23) is None, "that was long ago"
    labels.take_back("x2", "ann", T0 + 31)
    assert labels.last_of("ann", T0) == "x1" and labels.given_since("ann", T0) == 2
    labels.take_back("x1", "ann", T0 + 32)
    labels.take_back("x0", "ann", T0 + 33)
    assert labels.last_of("ann", T0) is None and labels.last_of("bob", T0) == "x0"
    assert kept.samples.get("x0").labeller == "bob"


def test_what_was_asked_for_is_told_apart_from_what_came(kept: Tables) -> None:
    kept.samples.label("x1", "good", "ann", T0 + 20)
    assert kept.samples.asked_and_given(7) == (4, 3, 1) and kept.samples.asked_and_given(8) == (0, 0, 0)
    assert kept.samples.on_the_way() == 1
    kept.samples.label("x1", "scratch", "bob", T0 + 21)
    assert [(s.sample, s.again) for s in kept.samples.disputes(9)] == [("x1", "disputed")]
    one = kept.samples.still_waits("x1", "eva")
    assert one is not None and one.again == "disputed" and kept.samples.still_waits("x1", "ann") is None
    assert kept.samples.still_waits("x3", "eva") is None, "its image has not come"


def test_a_part_is_before_one_person_until_the_lease_is_over(kept: Tables) -> None:
    claims = ReviewClaims(kept.database)
    assert claims.take("x0", "ann", T0) and claims.take("x0", "ann", T0 + 30)
    assert not claims.take("x0", "bob", T0 + 30 + LEASE_S - 1) and claims.take("x1", "bob", T0)
    assert claims.holders(["x0", "x1", "x2"], T0 + 1) == {"x0": "ann", "x1": "bob"}
    claims.release("x0", "bob")
    assert not claims.take("x0", "bob", T0 + 31), "nobody gives back what is another's"
    assert claims.take("x0", "bob", T0 + 30 + LEASE_S), "ann left without a word"
    claims.release("x0", "bob")
    assert claims.holders(["x0"], T0) == {} and claims.take("x0", "ann", T0)
    assert claims.take("x0", "bob", T0 - 1e6), "a clock that was set back keeps nothing from anybody"
    claims.forget_old(T0 + 10 * LEASE_S)
    with kept.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM review_claims").scalar_one() == 0


def test_of_many_who_reach_for_one_part_at_once_one_has_it(kept: Tables) -> None:
    claims, got = ReviewClaims(kept.database), []
    threads = [
        threading.Thread(target=lambda who=f"p{n}": got.append((who, claims.take("x0", who, T0))))  # type: ignore[misc]
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [who for who, has in got if has]
    assert len(got) == 8 and claims.holders(["x0"], T0) == {"x0": winner}
