"""The life of a kept frame: noted, asked for, received, labelled."""

from __future__ import annotations

import pytest

from contract.errors import NotFound, RefusedError
from tests.fakes.cloud_tables import T0, Tables, note, received, summary


@pytest.fixture
def kept(tables: Tables) -> Tables:
    notes = tuple(note(f"x{n}", at=T0 + n) for n in range(4))
    tables.summaries.commit(received(summary("s1", 1, samples=notes)), [])
    tables.summaries.commit(received(summary("s2", 1, samples=(note("y0"),))), [])
    return tables


def test_a_frame_is_noted_asked_for_received_and_labelled(kept: Tables) -> None:
    samples = kept.samples
    assert [s.sample for s in samples.unasked("s1", "", T0 + 1)] == ["x1", "x2", "x3"]
    samples.mark_requested(["x1", "x2"], 7, T0 + 10)
    assert [s.sample for s in samples.unasked("s1", "", T0 + 1)] == ["x3"]
    assert [s.sample for s in samples.of_alarm(7)] == ["x1", "x2"] and samples.waiting(10) == []
    samples.mark_received("x2", "s1", "a" * 64, T0 + 11)
    assert [s.sample for s in samples.waiting(10)] == ["x2"] and samples.counts() == (1, 0)
    samples.label("x2", "scratch", "eva", T0 + 12)
    assert samples.counts() == (0, 1) and samples.waiting(10) == []
    (labelled,) = samples.labelled("s1", "")
    assert (labelled.truth, labelled.labeller, labelled.labelled_at, labelled.label) == (
        "scratch",
        "eva",
        T0 + 12,
        "good",
    )


def test_p8_pixels_that_nobody_asked_for_are_refused(kept: Tables) -> None:
    with pytest.raises(RefusedError, match="nobody asked for sample 'x1'"):
        kept.samples.mark_received("x1", "s1", "a" * 64, T0)
    assert kept.samples.get("x1").image_sha256 is None


def test_a_station_cannot_send_the_pixels_of_anothers_frame(kept: Tables) -> None:
    kept.samples.mark_requested(["x1"], 1, T0)
    with pytest.raises(NotFound, match="station 's2' reported no sample 'x1'"):
        kept.samples.mark_received("x1", "s2", "a" * 64, T0)
    assert kept.samples.get("x1").image_sha256 is None


def test_pixels_sent_twice_do_not_replace_what_a_label_may_rest_on(kept: Tables) -> None:
    kept.samples.mark_requested(["x1"], 1, T0)
    kept.samples.mark_received("x1", "s1", "a" * 64, T0 + 1)
    kept.samples.mark_received("x1", "s1", "b" * 64, T0 + 2)
    found = kept.samples.get("x1")
    assert (found.image_sha256, found.received_at) == ("a" * 64, T0 + 1)


def test_a_persons_later_label_replaces_their_own_and_both_acts_are_on_record(kept: Tables) -> None:
    kept.samples.label("x1", "scratch", "eva", T0 + 1)
    kept.samples.label("x1", "good", "eva", T0 + 2)
    assert (kept.samples.get("x1").truth, kept.samples.counts()) == ("good", (0, 1))
    assert [(e.actor, e.act, e.detail) for e in kept.audit.entries()] == [
        ("eva", "label", "x1: scratch"), ("eva", "label", "x1: good"),
    ]  # fmt: skip


def test_an_unknown_frame_is_named(kept: Tables) -> None:
    for call in (lambda: kept.samples.get("no"), lambda: kept.samples.label("no", "good", "eva", T0)):
        with pytest.raises(NotFound, match="no sample 'no'"):
            call()
    assert kept.audit.entries() == []


def test_the_queue_shows_the_oldest_request_first_up_to_the_limit(kept: Tables) -> None:
    for at, name in enumerate(("x3", "x1", "x2")):
        kept.samples.mark_requested([name], 1, T0 + at)
        kept.samples.mark_received(name, "s1", "a" * 64, T0 + 10)
    assert [s.sample for s in kept.samples.waiting(2)] == ["x3", "x1"]


def test_labels_are_counted_by_camera_in_the_order_in_which_they_came(kept: Tables) -> None:
    assert kept.samples.labelled_since(0) == {}
    kept.samples.label("x1", "good", "eva", T0 + 1e9)
    kept.samples.label("x2", "good", "eva", T0 + 2)
    kept.samples.label("y0", "good", "eva", T0 - 1e6)
    assert kept.samples.labelled_since(0) == {("s1", ""): (2, 2), ("s2", ""): (1, 3)}
    assert kept.samples.labelled_since(1) == {("s1", ""): (1, 2), ("s2", ""): (1, 3)}


def test_audit_labels_are_those_of_one_camera_bundle_and_time(kept: Tables) -> None:
    extra = (note("x8", at=T0 + 8, reason="hard"), note("x9", at=T0 + 9))
    kept.summaries.commit(received(summary("s1", 2, samples=extra, camera="left")), [])
    for name in ("x0", "x1", "x3", "x8", "x9", "y0"):
        kept.samples.label(name, "good", "eva", T0 + 20)
    names = lambda *asked: [s.sample for s in kept.samples.audited(*asked)]  # noqa: E731
    assert names("s1", "", "d" * 64, 0.0, 10) == ["x0", "x1", "x3"]
    assert names("s1", "", "d" * 64, 0.0, 2) == ["x1", "x3"], "the newest"
    assert names("s1", "", "d" * 64, T0 + 3, 10) == ["x3"] and names("s1", "", "e" * 64, 0.0, 10) == []
    assert names("s1", "left", "d" * 64, 0.0, 10) == ["x9"], "a hard one is no random sample"


def test_routine_requests_are_of_one_camera_since_a_time_and_of_no_alarm(kept: Tables) -> None:
    kept.samples.mark_requested(["x3"], None, T0 + 5)
    kept.samples.mark_requested(["x1"], 7, T0 + 5)
    kept.samples.mark_requested(["y0"], None, T0 + 6)
    asked = lambda *words: [s.sample for s in kept.samples.routinely_asked(*words)]  # noqa: E731
    assert asked("s1", "", T0) == ["x3"] and asked("s1", "", T0 + 6) == [] == asked("s1", "left", T0)
