"""What calls for a new model, over a real database; every tick may be the first of a new process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.ports.alarms import Opened, Retrain
from cloud.ports.records import Cursor
from cloud.ports.samples import Sample
from cloud.ports.series import split_series
from cloud.retrain_trigger import RetrainBooks, RetrainTrigger
from cloud.review.retrain_policy import RetrainPolicy
from contract.messages import ReportedState
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases
from tests.fakes.cloud_tables import Tables, note, open_tables, received, summary

BUNDLE = "d" * 64
DAY_S, HOUR_S = 86_400.0, 3_600.0
POLICY = RetrainPolicy(labels=8, min_accuracy=0.9, min_audit=8)


class Plant:
    """A station whose kept frames people label, and a trainer; `restart` makes a new trigger on the same tables."""

    def __init__(self, tables: Tables, policy: RetrainPolicy = POLICY) -> None:
        self.tables, self.policy, self.clock = tables, policy, HandClock()
        self.releases = FakeReleases(FakeRelease("v1", BUNDLE))
        self.lessons: list[tuple[int, list[str], str]] = []
        self.rollouts: list[str] = []
        self.changed: list[tuple[str, ...]] = []
        self.breaks = False
        self._labels, self._seq = 0, 0
        tables.add_online("s1", "s2", now=self.clock.now())
        reports = [ReportedState(name, "b1", 0.0, BUNDLE, "COMMITTED") for name in ("s1", "s2")]
        tables.stations.commit([], reports, self.clock.now())
        self.trigger = self._new()

    def _new(self) -> RetrainTrigger:
        t = self.tables
        return RetrainTrigger(
            RetrainBooks(t.stations, t.alarms, t.samples, t.rollouts),
            self.releases,
            carry_out=self._train,
            start_rollout=self._roll_out,
            policy=self.policy,
            automatic=True,
            now=self.clock.now,
        )

    def _train(self, retrain: Retrain, labelled: Sequence[Sample], base: str, version: str) -> bool:
        if self.breaks:
            raise RuntimeError("out of memory")
        self.lessons.append((retrain.id, sorted(s.sample for s in labelled), base))
        self.releases.releases.append(FakeRelease(version, "e" * 64))
        self.tables.alarms.update_retrain(retrain.id, state="released", version=version, ended_at=self.clock.now())
        return True

    def _roll_out(self, version: str, changed: tuple[str, ...], actor: str) -> int:
        self.rollouts.append(version)
        self.changed.append(changed)
        return self.tables.rollouts.create(version, "e" * 64, [["s2"]], changed, actor, self.clock.now())

    def hold(self) -> threading.Event:
        """Keep the worker busy until the returned event is set."""
        gate = threading.Event()
        self.trigger._worker.submit(gate.wait, 20.0)
        return gate

    def restart(self) -> None:
        self.close()
        self.trigger = self._new()

    def close(self) -> None:
        self.trigger._worker.shutdown(wait=True)

    def label(self, count: int, truth: str = "good", series: str = "s1", alarm: int | None = None) -> list[str]:
        """People label this many random frames; the model had called every one of them good."""
        station, camera = split_series(series)
        self.clock.forward(1.0)
        names = [f"x{self._labels + n:04d}" for n in range(count)]
        self._labels += count
        self._seq += 1
        told = summary(
            station, self._seq, samples=tuple(note(name, at=self.clock.now()) for name in names), camera=camera
        )
        self.tables.summaries.commit(received(told), [])
        self.tables.samples.mark_requested(names, alarm, self.clock.now())
        for name in names:
            self.tables.samples.label(name, truth, "eva", self.clock.now())
        return names

    def alarm(self, cause: str = "covariate_shift", series: str = "s1") -> int:
        self.tables.alarms.commit(
            Cursor(0, 1, 1), {}, [Opened(series, self.clock.now(), 1.0, cause, "lens: fogged")], []
        )
        return self.tables.alarms.open()[-1].id

    def tick(self, after_s: float = 61.0) -> list[Retrain]:
        """Let time pass, tick until what was started has ended, and return every retrain so far."""
        self.clock.forward(after_s)
        for _ in range(2):
            self.trigger.tick()
            self.trigger._worker.submit(lambda: None).result(20.0)
        return self.tables.alarms.retrains()

    def why(self, series: str = "s1") -> str:
        (decided,) = [d for d in self.tables.alarms.decisions() if d.series == series]
        return ("go: " if decided.go else "not now: ") + decided.why


@pytest.fixture
def plant(tables: Tables) -> Iterator[Plant]:
    made = Plant(tables)
    yield made
    made.close()


def test_random_labels_that_say_the_model_fails_call_for_a_retrain_though_no_alarm_is_open(plant: Plant) -> None:
    plant.label(7, "scratch")
    assert plant.tick() == [] and "only 7 labels of random parts" in plant.why()
    names = plant.label(1, "scratch")
    (retrain,) = plant.tick()
    assert (retrain.alarm, retrain.series, retrain.trigger, retrain.state) == (None, "s1", "accuracy", "released")
    assert "accuracy on 8 random parts is 0.000" in retrain.reason
    ((_, lesson, base),) = plant.lessons
    assert len(lesson) == 8 and names[0] in lesson and base == "v1"
    assert plant.rollouts == ["v1.r1"]
    assert ("plumbline", "retrain", f"s1: {retrain.reason}") in [
        (e.actor, e.act, e.detail) for e in plant.tables.audit.entries()
    ]


def test_random_labels_that_say_it_holds_call_for_nothing_and_say_so(plant: Plant) -> None:
    plant.label(30)
    assert plant.tick() == []
    assert plant.why().startswith("not now: labels say the model still holds: accuracy 1.000")


def test_labels_of_another_models_answers_say_nothing_of_the_one_that_runs(plant: Plant) -> None:
    plant.label(8, "scratch")
    plant.tables.stations.commit([], [ReportedState("s1", "b1", 0.0, "f" * 64, "COMMITTED")], plant.clock.now())
    assert plant.tick() == [] and "only 0 labels of random parts" in plant.why()


def test_labels_given_while_it_trains_and_those_an_alarms_retrain_learnt_are_kept_apart(plant: Plant) -> None:
    alarm = plant.alarm()
    of_alarm = plant.label(8, "scratch", alarm=alarm)
    plant.tick()
    plant.tables.alarms.close("s1", plant.clock.now(), "answered")
    assert plant.lessons[0][1] == sorted(of_alarm)
    fresh = plant.label(8, "scratch")
    plant.clock.forward(DAY_S)
    gate = plant.hold()
    plant.trigger.tick()
    late = plant.label(3, "scratch")
    gate.set()
    plant.tick()
    assert plant.lessons[1][1] == sorted(fresh), "neither what was learnt before nor what came later"
    plant.label(5, "scratch")
    plant.tick(DAY_S)
    assert len(plant.lessons) == 3 and set(late) < set(plant.lessons[2][1]) and len(plant.lessons[2][1]) == 8


def test_the_accuracy_is_that_of_the_newest_labels_not_of_a_good_year(plant: Plant) -> None:
    plant.label(200)
    plant.label(8, "scratch")
    (retrain,) = plant.tick()
    assert "accuracy on 8 random parts is 0.000" in retrain.reason


def test_a_series_rests_for_the_cool_down_whatever_calls_and_through_restarts(plant: Plant) -> None:
    plant.label(8, "scratch")
    assert len(plant.tick()) == 1
    plant.label(8, "scratch")
    assert len(plant.tick()) == 1 and "cool-down" in plant.why()
    plant.restart()
    alarm = plant.alarm()
    plant.label(8, "scratch", alarm=alarm)
    assert len(plant.tick(HOUR_S)) == 1
    assert plant.why() == "not now: the last retrain ended less than 24 h ago: the cool-down"
    plant.label(8, "scratch", series="s2")
    assert len(plant.tick()) == 2, "another station does not wait for it"
    plant.restart()
    (_, _, third) = plant.tick(DAY_S)
    assert (third.alarm, third.series, third.trigger) == (alarm, "s1", "drift")


def test_one_retrain_at_a_time_and_the_other_says_what_it_waits_for(plant: Plant) -> None:
    key = plant.tables.alarms.start_retrain(None, "by hand", plant.clock.now(), series="s2", trigger="accuracy")
    plant.trigger._busy.add(key)  # the worker has it in hand
    plant.label(8, "scratch")
    assert [r.id for r in plant.tick()] == [key]
    assert plant.why() == f"not now: retrain {key} is under way: one at a time"
    plant.tables.alarms.update_retrain(key, state="failed", ended_at=plant.clock.now())
    assert len(plant.tick()) == 2


def test_two_series_that_fail_at_once_are_answered_one_after_the_other(plant: Plant) -> None:
    plant.label(8, "scratch")
    plant.label(8, "scratch", series="s2")
    plant.clock.forward(61.0)
    plant.trigger.tick()
    assert len(plant.tables.alarms.retrains()) == 1
    plant.trigger._worker.submit(lambda: None).result(20.0)
    assert [r.series for r in plant.tick()] == ["s1", "s2"]


def test_the_schedule_starts_one_a_period_and_none_without_labels(tables: Tables) -> None:
    plant = Plant(tables, replace(POLICY, every_s=7 * DAY_S))
    plant.label(8)
    assert plant.tick() == []
    (first,) = plant.tick(7 * DAY_S)
    assert (first.trigger, first.reason) == ("schedule", "the schedule's 7 days are over and 8 new labels are there")
    assert len(plant.tick(8 * DAY_S)) == 1, "no new labels"
    assert plant.why().endswith("7 days are over, but only 0 of 8 labels are there")
    learnt = plant.lessons[0][1]
    fresh = plant.label(9)
    plant.restart()
    assert len(plant.tick()) == 2, "the period was long over"
    assert plant.lessons[1][1] == sorted(fresh) and not set(learnt) & set(fresh), "each label is learnt once"
    plant.label(9)
    for _ in range(6):
        plant.restart()
        assert len(plant.tick(DAY_S)) == 2
    assert len(plant.tick(DAY_S)) == 3
    plant.close()


def test_a_fault_of_the_camera_never_retrains_and_a_shared_alarm_named_after_one_holds_nobody_back(
    plant: Plant,
) -> None:
    plant.label(8, "scratch")
    plant.alarm("frozen")
    assert plant.tick() == [] and "mend it, no model can" in plant.why()
    plant.tables.alarms.close("s1", plant.clock.now(), "mended")
    plant.alarm("black", series="fleet")
    assert len(plant.tick()) == 1, "what many share is no fault of one of them"
    assert plant.why("fleet") == "not now: 0 of 8 labels are there"


def test_a_shared_alarm_is_answered_by_the_model_of_the_camera_with_most_of_its_labels(plant: Plant) -> None:
    alarm = plant.alarm(series="fleet")
    learnt = plant.label(3, "scratch", series="s1", alarm=alarm) + plant.label(
        5, "scratch", series="s2/left", alarm=alarm
    )
    (retrain,) = plant.tick()
    assert (retrain.alarm, retrain.series, retrain.state) == (alarm, "s2/left", "released")
    ((_, lesson, base),) = plant.lessons
    assert (lesson, base) == (sorted(learnt), "v1")
    assert plant.changed == [("s2", "s1")], "all that the lesson was taken from are meant to answer otherwise"
    assert plant.why("fleet") == "not now: retrain 1 answered it: its rollout closes the alarm"
    plant.tables.alarms.close("fleet", plant.clock.now(), "answered")
    plant.label(4, "scratch", series="s1")
    plant.label(4, "scratch", series="s2/left")
    assert len(plant.tick(2 * DAY_S)) == 1, "what a retrain learnt is nobody's evidence for the next"
    plant.label(8, "scratch", series="s2/left", alarm=plant.alarm(series="fleet"))
    assert plant.tick(HOUR_S)[1:] and plant.tables.alarms.retrains()[1].series == "s2/left"


def test_without_an_alarm_a_retrain_that_keeps_failing_is_tried_thrice_an_hour_apart_then_once_a_cool_down(
    plant: Plant,
) -> None:
    plant.breaks = True
    plant.label(8, "scratch")
    assert [len(plant.tick(after)) for after in (61.0, 61.0, HOUR_S, HOUR_S, HOUR_S, DAY_S)] == [1, 1, 2, 3, 3, 4]
    plant.breaks = False
    retrains = plant.tick(DAY_S + 61.0)
    assert [r.state for r in retrains] == ["failed"] * 4 + ["released"]


def test_a_decision_is_written_when_it_changes_and_not_at_every_tick(plant: Plant) -> None:
    alarm = plant.alarm()
    plant.label(3, alarm=alarm)
    plant.tick()
    (decided,) = plant.tables.alarms.decisions()
    assert (decided.go, decided.trigger, decided.why) == (False, "drift", "3 of 8 labels are there")
    for _ in range(5):
        plant.restart()
        plant.tick()
    assert plant.tables.alarms.decisions() == [decided], "it says since when"
    plant.label(1, alarm=alarm)
    plant.tick()
    assert plant.why() == "not now: 4 of 8 labels are there"


def test_an_older_retrain_without_a_camera_counts_for_its_alarms_series(plant: Plant) -> None:
    alarm = plant.alarm(series="s1/left")
    key = plant.tables.alarms.start_retrain(plant.tables.alarms.open()[0], "accuracy 0.3", plant.clock.now())
    plant.tables.alarms.update_retrain(key, state="released", version="v1", ended_at=plant.clock.now())
    with plant.tables.database.write() as connection:
        connection.exec_driver_sql("UPDATE retrains SET camera = ''")
    plant.tables.alarms.close("s1/left", plant.clock.now(), f"answered alarm {alarm}")
    plant.label(8, "scratch", series="s1/left")
    assert len(plant.tick()) == 1 and "cool-down" in plant.why("s1/left")


STEPS = st.lists(
    st.sampled_from(["bad labels", "good labels", "alarm", "fault", "clear", "break", "mend", "restart",
                     "minute", "hour", "half day", "two days"]),
    max_size=25,
)  # fmt: skip
WAITS = {"minute": 61.0, "hour": HOUR_S, "half day": DAY_S / 2, "two days": 2 * DAY_S}


@given(STEPS)
@settings(max_examples=15, deadline=None)
def test_whatever_happens_no_two_retrains_of_a_series_start_within_the_cool_down(steps: list[str]) -> None:
    with TemporaryDirectory() as folder:
        plant = Plant(open_tables(Path(folder) / "cloud.db"), replace(POLICY, every_s=DAY_S))
        for step in steps:
            open_alarms = plant.tables.alarms.open()
            if step in ("bad labels", "good labels"):
                alarm = open_alarms[0].id if open_alarms else None
                plant.label(8, "scratch" if step == "bad labels" else "good", alarm=alarm)
            elif step in ("alarm", "fault"):
                plant.alarm("frozen" if step == "fault" else "covariate_shift")
            elif step == "clear":
                plant.tables.alarms.close("s1", plant.clock.now(), "quiet")
            elif step in ("break", "mend"):
                plant.breaks = step == "break"
            elif step == "restart":
                plant.restart()
            before = len(plant.tables.alarms.retrains())
            is_fault = any(a.cause == "frozen" for a in plant.tables.alarms.open())
            retrains = plant.tick(WAITS.get(step, 1.0))
            assert len(retrains) - before <= (0 if is_fault else 1)
        _check(plant.tables.alarms.retrains())
        plant.close()
        plant.tables.database.close()


def _check(retrains: list[Retrain]) -> None:
    for earlier, later in pairwise(retrains):
        assert earlier.ended_at is not None and later.started_at >= earlier.ended_at, "one at a time"
        rest_s = HOUR_S if earlier.state == "failed" and later.alarm == earlier.alarm else 0.0
        assert later.started_at - earlier.ended_at >= rest_s
    released = [r for r in retrains if r.state == "released"]
    for good in released:
        after = [r.started_at for r in retrains if r.id > good.id]
        assert all(started - (good.ended_at or 0.0) >= DAY_S for started in after)
    assert all(r.reason and r.trigger in ("drift", "accuracy", "schedule") for r in retrains)
