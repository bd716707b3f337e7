"""A label is learnt once, whenever it comes to be known and whatever date it bears; every tick may be the first of a process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.review.agreement import LabelAct
from cloud.store.labels import GivenLabel
from tests.cloud.test_retrain_trigger import DAY_S, POLICY, Plant
from tests.fakes.cloud_tables import Tables, note, open_tables, received, summary

WEEKLY = replace(POLICY, every_s=7 * DAY_S)


@pytest.fixture
def tables(database_url: str) -> Iterator[Tables]:
    opened = open_tables(database_url)
    yield opened
    opened.database.close()


@pytest.fixture
def plant(tables: Tables) -> Iterator[Plant]:
    made = Plant(tables, WEEKLY)
    yield made
    made.close()


def kept(plant: Plant, count: int, alarm: int | None = None) -> list[str]:
    """Return frames of s1 that wait for a label."""
    names = [f"late{plant._seq}-{n}" for n in range(count)]
    plant._seq += 1
    told = summary("s1", plant._seq, samples=tuple(note(name, at=plant.clock.now()) for name in names))
    plant.tables.summaries.commit(received(told), [])
    plant.tables.samples.mark_requested(names, alarm, plant.clock.now())
    return names


def bring(plant: Plant, names: Sequence[str], at: float, label: str = "good", who: str = "eva") -> None:
    """Import labels that were given at `at`."""
    given_ = [GivenLabel(name, LabelAct(at, who, label), "file") for name in names]
    plant.tables.samples.labels.add(given_, plant.clock.now(), "op", "a file")


def test_labels_that_come_after_a_retrain_and_bear_an_earlier_date_are_learnt_by_the_next(plant: Plant) -> None:
    names = kept(plant, 9)
    given_at = plant.clock.now()
    plant.label(8)
    assert len(plant.tick(7 * DAY_S)) == 1
    bring(plant, names, given_at)
    assert len(plant.tick(8 * DAY_S)) == 2
    assert plant.lessons[1][1] == sorted(names)
    plant.restart()
    bring(plant, names, given_at)
    assert len(plant.tick(8 * DAY_S)) == 2 and "only 0 of 8 labels are there" in plant.why(), "each is learnt once"


def test_labels_of_a_clock_that_runs_ahead_are_learnt_at_once_and_once(plant: Plant) -> None:
    names = kept(plant, 9)
    plant.label(8)
    plant.tick(7 * DAY_S)
    plant.clock.forward(8 * DAY_S)
    bring(plant, names, plant.clock.now() + DAY_S / 2)
    assert len(plant.tick()) == 2 and plant.lessons[1][1] == sorted(names)
    assert len(plant.tick(8 * DAY_S)) == 2


def test_labels_of_an_alarm_that_come_when_it_is_answered_are_learnt_by_the_schedule(plant: Plant) -> None:
    alarm = plant.alarm()
    late = kept(plant, 9, alarm)
    given_at = plant.clock.now()
    first = plant.label(8, "scratch", alarm=alarm)
    plant.tick()
    plant.tables.alarms.close("s1", plant.clock.now(), "answered")
    bring(plant, late, given_at)
    assert len(plant.tick(8 * DAY_S)) == 2
    assert [lesson for _, lesson, _ in plant.lessons] == [sorted(first), sorted(late)]


def test_a_part_that_turns_out_to_be_something_else_is_learnt_again_and_back_again(plant: Plant) -> None:
    names = plant.label(8)
    for label, number in (("scratch", 2), ("good", 3), ("good", 3)):
        plant.tick(8 * DAY_S)
        for name in names:
            plant.tables.samples.label(name, label, "eva", plant.clock.now())
        assert len(plant.tick(8 * DAY_S)) == number
    assert [lesson for _, lesson, _ in plant.lessons] == [sorted(names)] * 3


def held(plant: Plant) -> threading.Event:
    plant.clock.forward(8 * DAY_S)
    gate = plant.hold()
    plant.trigger.tick()
    return gate


def test_a_lesson_is_what_was_labelled_when_its_retrain_was_begun_also_after_a_restart(plant: Plant) -> None:
    first = plant.label(8)
    gate = held(plant)
    late = kept(plant, 9)
    bring(plant, late, 5.0)
    plant.tables.samples.label(first[0], "scratch", "eva", plant.clock.now())
    plant.trigger.close()  # the process ends before the worker came to it
    gate.set()
    plant.restart()
    plant.tick()
    assert plant.lessons[-1][1] == sorted(first[1:]), "nor is anything learnt that is known to be wrong by now"
    plant.tick(8 * DAY_S)
    assert plant.lessons[-1][1] == sorted([first[0], *late])


def test_a_part_that_was_left_out_of_a_lesson_is_learnt_when_it_is_again_what_it_was(plant: Plant) -> None:
    first = plant.label(8)
    gate = held(plant)
    plant.tables.samples.label(first[0], "scratch", "eva", plant.clock.now())
    gate.set()
    plant.tick()
    plant.tables.samples.label(first[0], "good", "eva", plant.clock.now())
    fresh = plant.label(8)
    plant.tick(8 * DAY_S)
    assert plant.lessons[-1][1] == sorted([first[0], *fresh])


def test_what_failed_to_be_learnt_is_learnt_by_the_next_try(plant: Plant) -> None:
    names = plant.label(8)
    plant.breaks = True
    assert [r.state for r in plant.tick(8 * DAY_S)] == ["failed"]
    plant.breaks = False
    plant.tick(8 * DAY_S)
    assert [lesson for _, lesson, _ in plant.lessons] == [sorted(names)]


STEPS = st.lists(
    st.tuples(st.sampled_from(["new", "old", "ahead", "restart", "week"]), st.integers(1, 12)), min_size=1, max_size=12
)


@pytest.mark.slow
@given(steps=STEPS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_dates_labels_bear_each_is_learnt_exactly_once(new_database: object, steps: list) -> None:
    plant = Plant(open_tables(new_database()), WEEKLY)  # type: ignore[operator]
    every: list[str] = []
    for kind, count in [*steps, ("new", 8), ("week", 1), ("week", 1)]:
        now = plant.clock.now()
        if kind == "new":
            every += plant.label(count)
        elif kind in ("old", "ahead"):
            names = kept(plant, count)
            bring(plant, names, now - 30 * DAY_S if kind == "old" else now + DAY_S / 2)
            every += names
        elif kind == "restart":
            plant.restart()
        plant.tick(8 * DAY_S if kind == "week" else 61.0)
    learnt = [name for _, lesson, _ in plant.lessons for name in lesson]
    assert sorted(learnt) == sorted(every)
    plant.close()
    plant.tables.database.close()
