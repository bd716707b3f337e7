"""Labels of several people in a real database of either kind: what stands, what comes back, and that no act is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from cloud.review.agreement import ActKind, LabelAct, Standing
from cloud.store.database import Database
from cloud.store.labels import Added, GivenLabel
from cloud.store.samples import Samples
from contract.errors import NotFound
from tests.cloud.store.test_schema_versions import make_old
from tests.fakes.cloud_tables import T0, Tables, note, open_tables, received, summary


@pytest.fixture
def kept(tables: Tables) -> Tables:
    """x0 to x3 with pixels, in the order in which they were asked for; x4 without."""
    notes = tuple(note(f"x{n}", at=T0 + n) for n in range(5))
    tables.summaries.commit(received(summary("s1", 1, samples=notes)), [])
    for number in range(5):
        tables.samples.mark_requested([f"x{number}"], None, T0 + number)
        if number < 4:
            tables.samples.mark_received(f"x{number}", "s1", f"{number}" * 64, T0 + 10)
    return tables


def names(samples: Samples, labeller: str = "") -> list[str]:
    return [each.sample for each in samples.waiting(10, labeller)]


def test_two_who_disagree_void_the_truth_and_a_third_gives_it_back(kept: Tables) -> None:
    samples = Samples(kept.database, 0.0)
    assert samples.label("x1", "good", "ann", T0 + 20).truth == "good"
    assert samples.label("x1", "scratch", "bob", T0 + 21).standing is Standing.DISPUTED
    found = samples.get("x1")
    assert (found.truth, found.labeller, found.labelled_at) == (None, None, None)
    assert samples.labelled("s1", "") == [] == samples.audited("s1", "", "d" * 64, 0.0, 9)
    assert samples.labelled_since(0) == {("s1", ""): (2, 2)}, "what rested on the first is to be judged anew"
    assert samples.counts() == (4, 0) and samples.disputed() == 1
    assert [(s.sample, s.again) for s in samples.waiting(9)] == [("x0", ""), ("x1", "disputed"), ("x2", ""), ("x3", "")]
    assert [names(samples, who) for who in ("ann", "bob")] == [["x0", "x2", "x3"]] * 2, "neither sees it again"
    assert names(samples, "eva") == ["x0", "x1", "x2", "x3"] and samples.counts("ann") == (3, 0)
    samples.label("x1", "scratch", "eva", T0 + 22)
    found = samples.get("x1")
    assert (found.truth, found.labeller, found.labelled_at) == ("scratch", "eva", T0 + 22)
    assert names(samples, "eva") == names(samples) == ["x0", "x2", "x3"]
    assert [(a.labeller, a.label) for a in samples.labels.of("x1")] == [
        ("ann", "good"), ("bob", "scratch"), ("eva", "scratch"),
    ]  # fmt: skip


def test_who_settles_it_has_the_last_word(kept: Tables) -> None:
    samples = Samples(kept.database, 1.0)
    samples.label("x1", "good", "ann", T0 + 20)
    samples.label("x1", "scratch", "bob", T0 + 21)
    samples.label("x1", "dent", "eva", T0 + 22, resolve=True)
    samples.label("x1", "good", "ian", T0 + 23)
    assert samples.get("x1").truth == "dent" and "x1" not in names(samples, "joe")
    assert [e.act for e in kept.audit.entries()] == ["label", "label", "resolve", "label"]


def test_a_second_look_goes_to_anybody_but_the_first_and_the_truth_stands_meanwhile(kept: Tables) -> None:
    samples = Samples(kept.database, 1.0)
    samples.label("x1", "good", "ann", T0 + 20)
    assert names(samples) == names(samples, "ann") == ["x0", "x2", "x3"], "who asks must be known"
    assert [(s.sample, s.again) for s in samples.waiting(2, "bob")] == [("x0", ""), ("x1", "second look")]
    assert samples.counts("bob") == (4, 1) and samples.get("x1").truth == "good"
    samples.label("x1", "good", "bob", T0 + 21)
    assert names(samples, "eva") == ["x0", "x2", "x3"] and samples.get("x1").labelled_at == T0 + 20
    never = Samples(kept.database, 0.0)
    never.label("x2", "good", "ann", T0 + 22)
    assert names(never, "bob") == ["x0", "x3"]


def test_a_persons_newest_word_is_the_last_one_that_came_also_after_the_clock_was_set_back(kept: Tables) -> None:
    kept.samples.label("x1", "good", "ann", T0 + 20)
    kept.samples.label("x1", "scratch", "ann", T0 - 1000)
    assert kept.samples.get("x1").truth == "scratch"


def given_label(sample: str, label: str, who: str, at: float) -> GivenLabel:
    return GivenLabel(sample, LabelAct(at, who, label), "file 1")


def test_an_import_is_stored_whole_or_not_at_all_and_once(kept: Tables) -> None:
    samples = Samples(kept.database, 0.0)
    samples.label("x0", "good", "ann", T0 + 20)
    some = [given_label("x0", "scratch", "bob", T0 + 5), given_label("x1", "good", "bob", T0 + 6)]
    with pytest.raises(NotFound, match="no sample 'y1', 'y2'"):
        samples.labels.add([*some, *(given_label(f"y{n}", "good", "bob", T0) for n in (1, 2))], T0, "ian", "f")
    assert names(samples) == ["x1", "x2", "x3"] and len(samples.labels.all()) == 1
    assert samples.labels.add([*some, some[0]], T0 + 30, "ian", "f") == Added(2, 1, 1)
    assert samples.labels.add(some, T0 + 31, "ian", "f") == Added(0, 2, 0)
    assert samples.get("x0").truth is None and samples.get("x1").labelled_at == T0 + 6
    assert [(e.actor, e.act, e.detail) for e in kept.audit.entries()[1:]] == [("ian", "labels imported", "2 new: f")]


def test_a_frame_is_sent_back_once_a_reason_and_needs_a_later_label(kept: Tables) -> None:
    samples = Samples(kept.database, 0.0)
    samples.label("x0", "good", "ann", T0 + 20)
    back = [GivenLabel("x0", LabelAct(0.0, "ian", "", ActKind.RETURN), "reason 1")]
    assert samples.labels.add(back, T0 + 10, "ian", "f").new == 1
    assert samples.get("x0").truth is None and samples.waiting(1)[0].again == "returned"
    samples.label("x0", "good", "bob", T0 + 30)
    assert samples.labels.add(back, T0 + 40, "ian", "f").new == 0 and samples.get("x0").truth == "good"


def test_labels_of_one_frame_given_at_once_are_all_counted(kept: Tables) -> None:
    who = [f"p{number}" for number in range(6)]
    said = ["good"] * 4 + ["scratch"] * 2
    threads = [
        threading.Thread(target=Samples(kept.database, 0.0).label, args=("x0", label, name, T0 + 20))
        for name, label in zip(who, said, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {a.labeller for a in kept.samples.labels.of("x0")} == set(who)
    assert kept.samples.get("x0").truth == "good"


def test_pixels_are_found_by_their_hash(kept: Tables) -> None:
    assert kept.samples.with_image(["1" * 64, "9" * 64]) == {"1" * 64: ["x1"]}
    assert kept.samples.with_image([]) == {}


def test_labels_of_before_become_first_acts(new_database: Callable[..., str]) -> None:
    url = new_database(empty=True)
    make_old(url, (1,))
    engine = create_engine(url)
    with engine.begin() as connection:
        for sample, truth, who, at in (("x1", "'good'", "'ann'", "5.5"), ("x2", "NULL", "NULL", "NULL")):
            columns = "sample, station, captured_at, part, label, confidence, verdict, reason, inclusion, bundle"
            values = f"'{sample}', 's1', 1.0, 'p', 'good', 0.5, 'PASS', 'audit', 0.5, 'd', {truth}, {who}, {at}"
            connection.execute(text(f"INSERT INTO samples ({columns}, truth, labeller, labelled_at) VALUES ({values})"))
    engine.dispose()
    tables = open_tables(url)
    assert tables.samples.labels.all() == {"x1": [LabelAct(5.5, "ann", "good")]}
    assert tables.samples.label("x1", "scratch", "bob", T0).standing is Standing.DISPUTED
    tables.database.close()
    Database(url).close()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Samples, Iterator[str]]]:
    """A database whose frames nobody labelled yet, and their names."""
    tables = open_tables(tmp_path_factory.mktemp("many") / "cloud.db")
    notes = tuple(note(f"x{n}") for n in range(400))
    tables.summaries.commit(received(summary("s1", 1, samples=notes)), [])
    yield Samples(tables.database, 0.5), iter([each.sample for each in notes])
    tables.database.close()


ACTS = st.lists(
    st.builds(LabelAct, st.integers(0, 9).map(float), st.sampled_from("abc"), st.sampled_from(["good", "dent"])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None)
@given(acts=ACTS, data=st.data())
def test_labels_imported_in_pieces_in_any_order_and_again_come_to_the_same(
    many: tuple[Samples, Iterator[str]], acts: list[LabelAct], data: st.DataObject
) -> None:
    samples, names = many
    one, other = next(names), next(names)
    samples.labels.add([GivenLabel(one, act) for act in acts], T0, "ian", "f")
    for act in [*data.draw(st.permutations(acts)), acts[0]]:
        samples.labels.add([GivenLabel(other, act)], T0, "ian", "f")
    told = [(s.truth, s.labeller, s.labelled_at) for s in (samples.get(one), samples.get(other))]
    assert told[0] == told[1] and samples.labels.of(one) == samples.labels.of(other) == sorted(set(acts))
