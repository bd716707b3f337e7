"""Wherever an accuracy is shown, the frames on which people disagree are counted: by the watch, the page, a retrain and an A/B."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from cloud.dashboard.ab_words import arm_words
from cloud.dashboard.drift_view import DriftBooks, series_view
from cloud.ports.rollout_evidence import SpotCounts
from cloud.review.agreement import ActKind, LabelAct
from cloud.review.retrain_policy import Measured
from cloud.rollout.ab_report import ArmStation, ab_report
from cloud.store.drift_traces import DriftTraces
from cloud.store.labels import GivenLabel
from cloud.store.rollout_evidence import RolloutEvidenceRows
from tests.cloud.test_label_watch import Line
from tests.cloud.test_retrain_trigger import POLICY, Plant
from tests.fakes.cloud_tables import T0, Tables, note, open_tables, received, summary
from tests.fakes.held_out import record_of


@pytest.fixture
def tables(database_url: str) -> Iterator[Tables]:
    opened = open_tables(database_url)
    yield opened
    opened.database.close()


@pytest.fixture
def line(tables: Tables) -> Iterator[Line]:
    made = Line(tables, record_of())
    yield made
    made.loop.close()


def dispute(tables: Tables, names: Sequence[str], at: float) -> None:
    """A second person says otherwise of each."""
    for name in names:
        tables.samples.label(name, "dent", "bob", at)


def test_the_watch_says_how_many_are_disputed_and_its_interval_allows_for_both_outcomes(line: Line) -> None:
    names = line.send(20, notes=2)
    line.label(names, wrong_every=0)
    line.loop.tick()
    before = line.labels["audit"]
    assert (before["labels"], before["disputed"], line.labels["disputed"]) == (40, 0, 0) and before["low"] > 0.9
    dispute(line.tables, names[:8], line.clock.now())
    line.loop.tick()
    found = line.labels
    assert (found["audit"]["labels"], found["audit"]["disputed"], found["disputed"]) == (32, 8, 8)
    assert found["audit"]["estimate"] == 1.0 and found["audit"]["low"] < 0.75, "they may all be wrong"
    assert "on 32 audit labels, 8 more disputed and counted both ways" in found["sentence"]
    assert found["sequence"]["low"] < 0.8
    view = _page(line)
    assert "on 32 parts drawn at random. People disagree on 8 parts more: the interval holds" in view
    for name in names[:8]:
        line.tables.samples.label(name, "dent", "eva", line.clock.now(), resolve=True)
    line.loop.tick()
    found = line.labels["audit"]
    assert (found["labels"], found["disputed"], found["estimate"]) == (40, 0, pytest.approx(0.8))


def test_where_people_disagree_on_everything_nothing_is_claimed_and_that_is_said(line: Line) -> None:
    names = line.send(20, notes=1)
    line.label(names, wrong_every=0)
    dispute(line.tables, names, line.clock.now())
    line.loop.tick()
    assert line.labels["audit"] is None
    assert "accuracy not known: people disagree on 20 of 20 audit frames" in line.labels["sentence"]
    assert "not known; people disagree on all 20 parts drawn at random" in _page(line)


def _page(line: Line) -> str:
    books = DriftBooks(
        line.loop, line.tables.alarms, line.tables.samples, DriftTraces(line.tables.database), line.clock.now
    )
    found = series_view(books, "s1")
    assert found is not None
    return found.audited


def test_a_retrain_without_an_alarm_counts_what_people_argue_about_as_right(tables: Tables) -> None:
    plant = Plant(tables, replace(POLICY, labels=40))
    names = plant.label(40)
    plant.label(10, "scratch")
    # 30 stand, of which 10 are wrong; it may yet be right on 40 of 50.
    dispute(tables, names[-20:], plant.clock.now())
    plant.tick()
    assert "; 20 more are disputed and count as right here" in plant.why()
    plant.close()


def test_a_retrain_for_an_alarm_says_how_many_are_argued_about(tables: Tables) -> None:
    plant = Plant(tables)
    alarm = plant.alarm()
    dispute(tables, plant.label(10, "scratch", alarm=alarm)[:2], plant.clock.now())
    (retrain,) = plant.tick()
    assert retrain.reason.startswith("accuracy on 8 random parts is 0.000 (at most 0.5")
    assert "; 2 more are disputed and count as right here), below 0.9" in retrain.reason
    plant.close()


def test_too_few_labels_say_how_many_are_argued_about(tables: Tables) -> None:
    plant = Plant(tables)
    dispute(tables, plant.label(9)[:4], plant.clock.now())
    plant.tick()
    assert "only 5 labels of random parts (4 more are disputed): too few" in plant.why()
    plant.close()


def test_frames_sent_back_and_those_of_other_cameras_or_kept_for_doubt_are_told_apart(tables: Tables) -> None:
    notes = [note(f"n{n}", at=T0 + n, reason="hard" if n == 3 else "audit") for n in range(5)]
    tables.summaries.commit(received(summary("s1", 1, samples=tuple(notes))), [])
    tables.summaries.commit(received(summary("s1", 2, camera="left", samples=(note("left", at=T0),))), [])
    for name in ("n0", "n1", "n2", "n3", "left"):
        tables.samples.label(name, "good", "eva", T0 + 10)
    dispute(tables, ["n1", "n3", "left"], T0 + 20)
    back = LabelAct(0.0, "op", "", ActKind.RETURN)
    tables.samples.labels.add([GivenLabel("n2", back, "a dataset")], T0 + 30, "op", "a file")
    told = [(s.sample, s.again) for s in tables.samples.unsettled("s1", "")]
    assert told == [("n1", "disputed"), ("n2", "returned"), ("n3", "disputed")]
    assert [s.sample for s in tables.samples.unsettled("s1", "left")] == ["left"]
    tables.samples.label("n1", "good", "cleo", T0 + 40)
    assert [s.sample for s in tables.samples.unsettled("s1", "")] == ["n2", "n3"], "two of three"


def test_an_ab_report_counts_disputed_frames_and_knows_a_part_with_several_defects(tables: Tables) -> None:
    notes = tuple(note(f"n{n}", at=T0 + n) for n in range(6))
    tables.summaries.commit(received(summary("s1", 1, samples=notes)), [])
    for n, truth in enumerate(["good", "good;odd", "bad", "good", "good"]):
        tables.samples.label(f"n{n}", truth, "ida", T0 + 100.0)
    dispute(tables, ["n3", "n4"], T0 + 200.0)
    found = RolloutEvidenceRows(tables.database).labelled(T0)
    assert found == {("s1", "d" * 64): SpotCounts(labelled=3, right=2, disputed=2)}
    stations = [ArmStation(labelled=3, right=2, disputed=2), ArmStation(labelled=1, right=1, disputed=1)]
    report = ab_report(stations, stations, ("v1", "v2"))
    assert report.arms[0].disputed == 3
    assert arm_words(report.arms[0]).endswith("3 of 4 labelled frames right, people disagree on 3 more")


def test_what_counts_as_right_is_said() -> None:
    assert Measured(5, 1.0, 1.0).beside == "" and "3 more" in Measured(5, 1.0, 1.0, 3).beside
