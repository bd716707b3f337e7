"""From drift to a better model, over a real database and the real detectors; every step survives a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.drift.policy import DriftPolicy
from cloud.improve_loop import ImproveLoop, ImproveRules, Stored
from cloud.ports.alarms import Retrain
from cloud.ports.samples import Sample
from cloud.registry.catalog import check_version
from cloud.review.retrain_policy import RetrainPolicy
from cloud.rollout.rollout_states import RolloutEvent
from contract.codec import encode_summary
from contract.errors import StorageFull
from contract.messages import Accounting, Command, Header, ReportedState, StationState, Summary
from contract.sketches.wire import to_wire
from tests.cloud.drift.conftest import StationLine
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases
from tests.fakes.cloud_tables import Tables, note, open_tables, received
from tests.fakes.held_out import watch_labels
from tests.fakes.link import RecordingLink

BUNDLE, BETTER = "a" * 64, "b" * 64
LABELS = 12
RULES = ImproveRules(
    labels_per_alarm=LABELS,
    audit_share=0.5,
    ask_again_s=30.0,
    automatic=True,
    retrain=RetrainPolicy(labels=LABELS, min_accuracy=0.9, enough_anyway_s=1e9, min_audit=4),
)


class Fleet:
    """Two stations that send windows, people who label, a trainer; `restart` makes a new loop on the same database."""

    def __init__(self, tables: Tables) -> None:
        self.tables, self.clock, self.link = tables, HandClock(), RecordingLink()
        self.lines = {name: StationLine(name, seed=n) for n, name in enumerate(("s1", "s2"))}
        tables.add_online(*self.lines, now=self.clock.now())
        for name in self.lines:
            tables.stations.commit([], [ReportedState(name, "b", 0.0, BUNDLE, "COMMITTED")], self.clock.now())
        self.releases = FakeReleases(FakeRelease("v1", BUNDLE))
        self.retrained: list[tuple[int, int, str, str]] = []
        self.rollouts: list[tuple[str, tuple[str, ...]]] = []
        self.may_train = threading.Event()
        self.may_train.set()
        self.rules = RULES
        self.loop = self._new_loop()

    def _new_loop(self) -> ImproveLoop:
        t = self.tables
        return ImproveLoop(
            stored=Stored(t.stations, t.summaries, t.alarms, t.samples, t.commands, t.rollouts, t.audit),
            releases=self.releases,
            carry_out=self._train,
            start_rollout=self._roll_out,
            link=self.link,
            labels=watch_labels(t),
            policy=DriftPolicy(),
            rules=self.rules,
            now=self.clock.now,
        )

    def restart(self) -> None:
        self.loop.close()
        self.loop = self._new_loop()

    def _train(self, retrain: Retrain, labelled: Sequence[Sample], base: str, version: str) -> bool:
        self.may_train.wait(60)
        self.retrained.append((retrain.id, len(labelled), base, check_version(version)))
        self.releases.releases.append(FakeRelease(version, BETTER))
        self.tables.alarms.update_retrain(retrain.id, state="released", version=version, ended_at=self.clock.now())
        return True

    def _roll_out(self, version: str, changed: tuple[str, ...], actor: str) -> int:
        self.rollouts.append((version, changed))
        release = self.releases.get(version)
        return self.tables.rollouts.create(version, release.digest, [["s2"], ["s1"]], changed, actor, self.clock.now())

    def send(self, windows: int, *stations: str, notes: int = 0) -> None:
        """Each station sends windows, each with the notes of some kept frames."""
        for name in stations or self.lines:
            line = self.lines[name]
            for _ in range(windows):
                r = line.record()
                kept = tuple(
                    note(f"{name}-{r.seq}-{n}", at=r.ended_at, reason=("audit", "hard")[n % 2]) for n in range(notes)
                )
                header = Header(name, r.boot, r.seq, r.started_at, r.ended_at, 0.0, True, BUNDLE)
                frames = Accounting(captured=r.window.frames, passed=r.window.frames)
                self.tables.summaries.commit(received(Summary(header, frames, to_wire(r.window), kept)), [])
        self.loop.tick()

    def drift(self, **by_sd: float) -> None:
        """Enrol both stations, then change what s1 sees until its alarm is open."""
        self.send(30)
        self.lines["s1"].shift_by(**(by_sd or {"sharpness": -6.0}))
        self.send(6)

    def asked(self) -> list[list[str]]:
        return [command.arguments["samples"] for command in self.uploads()]

    def uploads(self) -> list[Command]:
        return [command for command in self.link.commands() if command.name == "upload_samples"]

    def told_of_drift(self) -> list[tuple[str, bool]]:
        return [(c.station, c.arguments["alarmed"]) for c in self.link.commands() if c.name == "drift"]

    def upload(self, names: Sequence[str]) -> None:
        for name in names:
            self.tables.samples.mark_received(name, "s1", "e" * 64, self.clock.now())

    def label(self, names: Sequence[str], truth: str = "scratch") -> None:
        for name in names:
            self.tables.samples.label(name, truth, "eva", self.clock.now())

    def until(self, what: Callable[[], Any], within_s: float = 60.0) -> None:
        end = time.monotonic() + within_s
        while not what():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.01)

    def finish_rollout(self) -> None:
        (rollout,) = self.tables.rollouts.all()
        self.tables.rollouts.step(rollout, RolloutEvent.ALL_WAVES_COMMITTED, "plumbline", "", self.clock.now())


@pytest.fixture
def fleet(tables: Tables) -> Iterator[Fleet]:
    made = Fleet(tables)
    yield made
    made.may_train.set()
    made.loop._retrains._worker.shutdown(wait=True)


def test_a_shift_opens_one_alarm_on_that_station_and_on_no_other(fleet: Fleet) -> None:
    fleet.drift()
    fleet.send(10)
    (alarm,) = fleet.tables.alarms.all()
    assert (alarm.station, alarm.cause, alarm.closed_at) == ("s1", "covariate_shift", None)
    assert alarm.sentence.startswith("lens: sharpness -") and alarm.opened_at == fleet.clock.now()
    assert 1_000_000 < alarm.seen_at <= fleet.lines["s1"].at + 60, "by the station's clock"
    assert fleet.loop.drift_status("s1")["phase"] == "alarmed"
    assert fleet.loop.drift_status("s2")["sentence"] == "within the enrolled range"


def test_pages_read_many_stations_at_once_with_what_is_normal_for_each(fleet: Fleet) -> None:
    assert fleet.loop.statuses_of(["s1"]) == {} and fleet.loop.baseline_of("s1") is None
    fleet.drift()
    fleet.send(10)
    found = fleet.loop.statuses_of(["s1", "s2", "nobody"])
    assert {name: [each.phase.value for each in cameras] for name, cameras in found.items()} == {
        "s1": ["alarmed"],
        "s2": ["quiet"],
    }
    baseline = fleet.loop.baseline_of("s1")
    assert baseline is not None and baseline.windows >= 12


def test_people_are_asked_for_half_audit_half_hard_frames_seen_since_the_alarm(fleet: Fleet) -> None:
    fleet.send(2, notes=4)
    fleet.drift()
    assert fleet.asked() == []
    fleet.send(5, notes=4)
    (asked,) = fleet.asked()
    assert len(asked) == LABELS == len(set(asked))
    reasons = [fleet.tables.samples.get(name).reason for name in asked]
    assert reasons.count("audit") == 6 and all(name.startswith("s1-") for name in asked)
    (command,) = fleet.uploads()
    assert (command.station, command.name, command.expires_at) == ("s1", "upload_samples", fleet.clock.now() + 300.0)
    seen_at = fleet.tables.alarms.open()[0].seen_at
    assert all(fleet.tables.samples.get(name).captured_at >= seen_at for name in asked)
    fleet.send(5, notes=4)
    assert len(fleet.asked()) == 1, "the budget is spent"


def test_novel_frames_come_before_people_beside_random_and_hard_ones(fleet: Fleet) -> None:
    fleet.drift()
    at = fleet.lines["s1"].at + 120.0
    kept = [note(f"s1-n{n}", at=at + n, reason="novel", novelty=float(n)) for n in range(5)]
    kept += [note(f"s1-h{n}", at=at + n, reason="hard", confidence=0.5 + 0.01 * n) for n in range(5)]
    kept += [note(f"s1-a{n}", at=at + n) for n in range(6)]
    header = Header("s1", "boot9", 1, at, at + 5, 0.0, True, BUNDLE)
    fleet.tables.summaries.commit(received(Summary(header, Accounting(captured=16, passed=16), None, tuple(kept))), [])
    fleet.loop.tick()
    (asked,) = fleet.asked()
    assert asked == [*(f"s1-a{n}" for n in range(6)), "s1-h0", "s1-n4", "s1-h1", "s1-n3", "s1-h2", "s1-n2"]
    assert fleet.tables.samples.get("s1-n4").novelty == 4.0


def test_without_an_alarm_people_look_at_a_few_frames_a_day_where_that_is_wished(fleet: Fleet) -> None:
    def pass_s(seconds: float) -> list[int]:
        before = len(fleet.asked())
        fleet.clock.forward(seconds)
        for line in fleet.lines.values():
            line.at = fleet.clock.now()
        fleet.restart()
        fleet.send(2, notes=6)
        return [len(names) for names in fleet.asked()[before:]]

    assert pass_s(0.0) == [], "images leave a station when somebody wants them"
    fleet.rules = replace(RULES, routine_per_day=4)
    assert pass_s(60.0) == [1, 1], "of each camera"
    assert pass_s(6 * 3_600.0 - 1.0) == [] and pass_s(1.0) == [1, 1] and pass_s(6 * 3_600.0) == [1, 1]
    assert pass_s(6 * 3_600.0) == [1, 1] and pass_s(6 * 3_600.0 - 1.0) == [], "enough for a day"
    asked = [fleet.tables.samples.get(name) for names in fleet.asked() for name in names]
    assert [s.reason for s in asked if s.station == "s1"] == ["audit", "hard", "audit", "hard"]
    assert {s.alarm for s in asked} == {None}
    fleet.clock.forward(2.0)
    fleet.loop.tick()
    assert len(fleet.asked()) == 8, "it need not be looked at every second"
    assert pass_s(600.0) == [1, 1]
    assert pass_s(13 * 3_600.0) == [2, 2], "what was missed while nobody was there to ask comes after"
    fleet.clock.forward(-30 * 86_400.0)
    assert pass_s(600.0) == [1, 1], "a clock that was far ahead does not end it"


def _keep(fleet: Fleet, at: float, seq: int, *reasons: str) -> None:
    kept = tuple(note(f"s1-{seq}-{n}", at=at, reason=reason, confidence=0.5) for n, reason in enumerate(reasons))
    header = Header("s1", "boot9", seq, at, at + 1, 0.0, True, BUNDLE)
    frames = Accounting(captured=len(kept), passed=len(kept))
    fleet.tables.summaries.commit(received(Summary(header, frames, None, kept)), [])
    fleet.restart()
    fleet.loop.tick()


@given(
    st.lists(st.sampled_from(["", "audit", "hard", "novel", "hard audit", "hard hard hard"]), min_size=1, max_size=30)
)
@settings(max_examples=15)
def test_hard_frames_never_take_the_places_of_random_ones(hours: list[str]) -> None:
    with TemporaryDirectory() as folder:
        tables = open_tables(Path(folder) / "cloud.db")
        fleet = Fleet(tables)
        fleet.rules = replace(RULES, routine_per_day=6)
        fleet.lines["s1"].at = fleet.clock.now()
        fleet.send(1, "s1")
        for seq, reasons in enumerate(hours):
            fleet.clock.forward(3_600.0)
            _keep(fleet, fleet.clock.now(), seq, *reasons.split())
            day = tables.samples.routinely_asked("s1", "", fleet.clock.now() - 86_400.0)
            picked = sum(s.reason != "audit" for s in day)
            # Half of a day's six places are the random frames', whether they have come yet or not.
            assert len(day) <= 6 and picked <= 3
        fleet.loop.close()
        tables.database.close()


def test_a_request_that_random_frames_are_owed_waits_for_them(fleet: Fleet) -> None:
    fleet.rules = replace(RULES, routine_per_day=4)
    fleet.lines["s1"].at = fleet.clock.now()
    fleet.send(1, "s1")
    _keep(fleet, fleet.clock.now(), 1, "hard", "novel")
    assert fleet.asked() == []
    _keep(fleet, fleet.clock.now(), 2, "hard", "audit")
    assert fleet.asked() == [["s1-2-1"]]


def test_frames_that_do_not_come_are_replaced_or_asked_for_again(fleet: Fleet) -> None:
    fleet.drift()
    fleet.send(3, notes=4)
    (first,) = fleet.asked()
    fleet.upload(first[:5])
    fleet.clock.forward(29.0)
    fleet.loop.tick()
    assert len(fleet.asked()) == 1, "an upload may take its time"
    fleet.clock.forward(2.0)
    fleet.loop.tick()
    assert sorted(fleet.asked()[1]) == sorted(first[5:]), "there is nothing else to ask for"
    fleet.clock.forward(31.0)
    fleet.send(2, notes=4)
    third = fleet.asked()[2]
    assert len(third) == 7 and not set(third) & set(first), "frames the station lost do not block new ones"


def test_nothing_is_asked_for_while_the_broker_is_away(fleet: Fleet) -> None:
    fleet.link.up = False
    fleet.drift()
    fleet.send(3, notes=4)
    assert fleet.tables.samples.of_alarm(1) == []
    fleet.link.reconnect()
    fleet.loop.tick()
    assert len(fleet.asked()[0]) == LABELS


def test_the_whole_way_from_labels_to_a_closed_alarm(fleet: Fleet) -> None:
    fleet.drift()
    fleet.send(3, notes=4)
    (asked,) = fleet.asked()
    fleet.upload(asked)
    fleet.label(asked[:-1])
    fleet.loop.tick()
    assert fleet.tables.alarms.retrains() == [], "one label is missing"
    fleet.label(asked[-1:])
    fleet.loop.tick()
    fleet.until(lambda: fleet.retrained)
    assert fleet.retrained == [(1, LABELS, "v1", "v1.r1")]
    (retrain,) = fleet.tables.alarms.retrains()
    assert "accuracy on 6 random parts is 0.000" in retrain.reason
    fleet.until(lambda: fleet.loop.tick() or fleet.rollouts)
    fleet.loop.tick()
    assert fleet.rollouts == [("v1.r1", ("s1",))] and len(fleet.retrained) == 1
    assert fleet.tables.alarms.open() != []
    fleet.finish_rollout()
    fleet.loop.tick()
    (closed,) = fleet.tables.alarms.all()
    assert closed.closed_why == "answered by v1.r1"
    assert fleet.loop.drift_status("s1")["phase"] == "enrolling"
    fleet.send(60)
    assert fleet.tables.alarms.open() == [], "the new normal is learnt"
    assert (len(fleet.retrained), len(fleet.rollouts)) == (1, 1)
    assert fleet.tables.audit.first_broken() is None


def test_labels_that_say_the_model_still_holds_start_nothing(fleet: Fleet) -> None:
    fleet.drift()
    fleet.send(3, notes=4)
    fleet.upload(fleet.asked()[0])
    fleet.label(fleet.asked()[0], "good")
    fleet.loop.tick()
    assert fleet.tables.alarms.retrains() == [] and len(fleet.tables.alarms.open()) == 1


def test_a_fault_of_the_camera_never_retrains(fleet: Fleet) -> None:
    fleet.send(30)
    fleet.lines["s1"].frozen = True
    fleet.send(6, notes=6)
    (alarm,) = fleet.tables.alarms.open()
    assert alarm.cause == "frozen" and "the same frame again and again" in alarm.sentence
    fleet.upload(fleet.asked()[0])
    fleet.label(fleet.asked()[0])
    fleet.clock.forward(1e9)
    fleet.loop.tick()
    assert fleet.tables.alarms.retrains() == []


def test_nothing_is_retrained_where_a_person_must_start_it(fleet: Fleet) -> None:
    fleet.rules = ImproveRules(LABELS, 0.5, 30.0, automatic=False, retrain=RULES.retrain)
    fleet.restart()
    fleet.drift()
    fleet.send(3, notes=4)
    fleet.upload(fleet.asked()[0])
    fleet.label(fleet.asked()[0])
    fleet.loop.tick()
    assert fleet.tables.alarms.retrains() == []


def test_a_restart_at_every_step_goes_on_as_if_nothing_had_happened(fleet: Fleet) -> None:
    fleet.send(15)
    fleet.restart()
    fleet.send(15)
    fleet.restart()
    fleet.lines["s1"].shift_by(sharpness=-6.0)
    for _ in range(6):
        fleet.send(1)
        fleet.restart()
    assert [a.station for a in fleet.tables.alarms.all()] == ["s1"]
    fleet.send(3, notes=4)
    fleet.restart()
    fleet.loop.tick()
    (asked,) = fleet.asked()
    fleet.upload(asked)
    fleet.label(asked)
    fleet.restart()
    fleet.may_train.clear()
    fleet.loop.tick()
    fleet.loop.tick()
    assert [r.state for r in fleet.tables.alarms.retrains()] == ["queued"]
    fleet.may_train.set()
    fleet.until(lambda: fleet.retrained)
    fleet.until(lambda: fleet.tables.alarms.retrains()[0].ended_at)
    fleet.restart()
    fleet.loop.tick()
    assert fleet.rollouts == [("v1.r1", ("s1",))]
    fleet.restart()
    fleet.loop.tick()
    fleet.finish_rollout()
    fleet.restart()
    fleet.loop.tick()
    assert fleet.tables.alarms.open() == [] and len(fleet.retrained) == len(fleet.rollouts) == 1
    fleet.restart()
    assert fleet.loop.drift_status("s1")["phase"] == "enrolling"


def _labelled_alarm(fleet: Fleet) -> None:
    fleet.drift()
    fleet.send(3, notes=4)
    fleet.upload(fleet.asked()[0])
    fleet.label(fleet.asked()[0])


def test_a_retrain_that_a_restart_interrupted_is_begun_again(fleet: Fleet) -> None:
    _labelled_alarm(fleet)
    alarm = fleet.tables.alarms.open()[0]
    key = fleet.tables.alarms.start_retrain(alarm, "accuracy 0.3", fleet.clock.now())
    fleet.tables.alarms.update_retrain(key, state="training", run="work/retrain-1/run")
    fleet.restart()
    fleet.loop.tick()
    fleet.until(lambda: fleet.retrained)
    assert fleet.retrained == [(1, LABELS, "v1", "v1.r1")]


def test_a_release_whose_record_was_lost_is_not_made_twice(fleet: Fleet) -> None:
    """The process ended after the release and before the row said so: its version name is taken."""
    _labelled_alarm(fleet)
    fleet.tables.alarms.start_retrain(fleet.tables.alarms.open()[0], "accuracy 0.3", fleet.clock.now())
    fleet.releases.releases.append(FakeRelease("v1.r1", BETTER))
    fleet.restart()
    fleet.until(lambda: fleet.loop.tick() or fleet.rollouts)
    assert fleet.rollouts == [("v1.r1", ("s1",))] and fleet.retrained == []


def test_a_second_retrain_is_named_after_the_first_ones_base(fleet: Fleet) -> None:
    fleet.releases.releases.append(FakeRelease("v1.r7", BETTER))
    fleet.tables.stations.commit([], [ReportedState("s1", "b", 0.0, BETTER, "COMMITTED")], fleet.clock.now())
    _labelled_alarm(fleet)
    fleet.loop.tick()
    fleet.until(lambda: fleet.retrained)
    assert fleet.retrained == [(1, LABELS, "v1.r7", "v1.r1")]


def test_a_retrain_that_breaks_is_marked_as_failed_and_not_repeated(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bool:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(fleet.loop._retrains, "_carry_out", broken)
    _labelled_alarm(fleet)
    fleet.loop.tick()
    fleet.until(lambda: fleet.tables.alarms.retrains() and fleet.tables.alarms.retrains()[0].ended_at)
    for _ in range(3):
        fleet.loop.tick()
    (retrain,) = fleet.tables.alarms.retrains()
    assert retrain.state == "failed" and fleet.rollouts == []


def test_a_failed_retrain_is_tried_again_after_an_hour_and_three_times_at_most(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bool:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(fleet.loop._retrains, "_carry_out", broken)
    _labelled_alarm(fleet)
    found = fleet.tables.alarms.retrains
    for tries in (1, 2, 3, 3):
        fleet.loop.tick()
        fleet.loop.tick()
        fleet.until(lambda: found() and all(r.ended_at for r in found()))
        assert len(found()) == tries
        fleet.clock.sleep(3_601.0)


def test_a_rollout_under_way_is_waited_for(fleet: Fleet) -> None:
    _labelled_alarm(fleet)
    other = fleet.tables.rollouts.create("v1", BUNDLE, [["s1"]], [], "operator", fleet.clock.now())
    fleet.loop.tick()
    fleet.until(lambda: fleet.tables.alarms.retrains()[0].ended_at)
    fleet.loop.tick()
    assert fleet.rollouts == []
    found = fleet.tables.rollouts.get(other)
    fleet.tables.rollouts.step(found, RolloutEvent.ALL_WAVES_COMMITTED, "plumbline", "", fleet.clock.now())
    fleet.until(lambda: fleet.loop.tick() or fleet.rollouts)


def test_an_alarm_that_could_not_be_stored_is_raised_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.send(30)
    fleet.lines["s1"].shift_by(sharpness=-6.0)

    def full(*_: object) -> None:
        raise StorageFull("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(type(fleet.tables.alarms), "commit", full)
        for _ in range(2):
            with pytest.raises(StorageFull):
                fleet.send(5)
    assert fleet.tables.alarms.all() == []
    fleet.loop.tick()
    assert [a.station for a in fleet.tables.alarms.open()] == ["s1"]


def test_a_stored_summary_that_nobody_can_read_does_not_end_the_watch(fleet: Fleet) -> None:
    fleet.send(30)
    with fleet.tables.database.write() as connection:
        connection.exec_driver_sql("UPDATE summaries SET payload = x'ff00' WHERE id = (SELECT max(id) FROM summaries)")
    fleet.restart()
    with fleet.tables.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM drift_cursor")
        connection.exec_driver_sql("DELETE FROM drift_state")
    fleet.restart()
    fleet.lines["s1"].shift_by(sharpness=-6.0)
    fleet.send(6)
    assert [a.station for a in fleet.tables.alarms.open()] == ["s1"]


def test_a_state_of_an_older_version_is_learnt_anew_and_the_others_go_on(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.send(30)
    with fleet.tables.database.write() as connection:
        old = msgspec.msgpack.encode({"station": "s1", "timeline": {}, "v": 1})
        connection.exec_driver_sql("UPDATE drift_state SET snapshot = ? WHERE station = 's1'", (old,))
    fleet.restart()
    assert "s1 is learnt anew: " in caplog.text and "s2" not in caplog.text
    assert [fleet.loop.drift_status(name)["phase"] for name in ("s1", "s2")] == ["enrolling", "quiet"]
    fleet.send(24)
    fleet.restart()
    assert fleet.loop.drift_status("s1")["phase"] == "quiet", "what was learnt anew is stored"
    fleet.lines["s1"].shift_by(sharpness=-6.0)
    fleet.send(6)
    assert [a.station for a in fleet.tables.alarms.open()] == ["s1"]


@pytest.mark.parametrize("trusted", [True, False])
def test_a_clock_that_jumps_while_it_is_trusted_is_told_by_the_seconds_since_the_start(
    fleet: Fleet, trusted: bool
) -> None:
    line = fleet.lines["s1"]
    for window in range(30):
        if window in (25, 28):
            line.at += 10_800.0
        r = line.record()
        header = Header("s1", r.boot, r.seq, r.started_at, r.ended_at, 60.0 * r.seq, trusted, BUNDLE)
        frames = Accounting(captured=r.window.frames, passed=r.window.frames)
        fleet.tables.summaries.commit(received(Summary(header, frames, to_wire(r.window))), [])
        fleet.loop.tick()
    said = [alarm.sentence for alarm in fleet.tables.alarms.all()]
    assert said == (["clock: jumped 2 times in 4 windows, last by +3.0 h"] if trusted else [])


def test_a_person_can_have_a_station_learnt_anew(fleet: Fleet) -> None:
    fleet.drift()
    fleet.loop.re_enrol("s1", "operator", "lamp replaced")
    assert fleet.tables.alarms.open() == [] and fleet.loop.drift_status("s1")["enrolled"] == 0
    assert ("operator", "re-enrol", "s1: lamp replaced") in [
        (e.actor, e.act, e.detail) for e in fleet.tables.audit.entries()
    ]
    fleet.restart()
    assert fleet.loop.drift_status("s1")["enrolled"] == 0
    assert fleet.loop.drift_status("never heard of")["phase"] == "enrolling"


def test_a_window_without_sketches_is_counted_and_not_judged(fleet: Fleet) -> None:
    header = Header("s1", "boot1", 1, 1.0, 2.0, 0.0, True, BUNDLE)
    lost = Summary(header, Accounting(captured=3, undecided=3), None, note="the process ended")
    assert fleet.tables.summaries.commit(received(lost), []) == 1 and encode_summary(lost)
    fleet.loop.tick()
    assert fleet.loop.drift_status("s1")["enrolled"] == 0


def test_a_station_is_told_once_that_its_alarm_opened_and_once_that_it_closed(fleet: Fleet) -> None:
    fleet.drift()
    fleet.send(3)
    assert fleet.told_of_drift() == [("s1", True)], "the other station is quiet"
    (command,) = fleet.link.commands()
    assert command.arguments["why"].startswith("lens: sharpness")
    fleet.loop.re_enrol("s1", "eva", "new lens")
    fleet.loop.tick()
    fleet.loop.tick()
    assert fleet.told_of_drift() == [("s1", True), ("s1", False)]


def test_a_station_is_told_of_its_drift_again_when_anybody_comes_back(fleet: Fleet) -> None:
    fleet.link.up = False
    fleet.drift()
    assert fleet.told_of_drift() == []
    fleet.link.reconnect()
    fleet.loop.tick()
    fleet.clock.forward(5.0)
    fleet.tables.stations.commit([StationState("s1", "b1", False, 0.0)], [], fleet.clock.now())
    fleet.link.reconnect()
    fleet.loop.tick()
    assert len(fleet.told_of_drift()) == 1, "a station that is away is told when it is back"
    fleet.tables.stations.commit([StationState("s1", "b1", True, 0.0)], [], fleet.clock.now())
    fleet.loop.tick()
    fleet.link.reconnect()
    fleet.loop.tick()
    fleet.restart()
    fleet.loop.tick()
    fleet.loop.tick()
    assert fleet.told_of_drift() == [("s1", True)] * 4


def test_states_are_stored_now_and_then_and_a_restart_in_between_ends_where_none_would_have(
    tables: Tables, tmp_path: Path
) -> None:
    steady, restarted = Fleet(tables), Fleet(open_tables(tmp_path / "restarted.db"))
    stored = set()
    for turn in range(44):
        for fleet in (steady, restarted):
            if turn == 38:
                fleet.lines["s1"].shift_by(sharpness=-6.0)
            fleet.send(1)
        if turn % 5 == 3:
            restarted.restart()
        with tables.database.read() as connection:
            stored |= {bytes(row[0]) for row in connection.exec_driver_sql("SELECT snapshot FROM drift_state")}
    assert 2 <= len(stored) <= 10, "two stations, 44 windows each"
    assert len(steady.tables.alarms.all()) == 1
    assert [replace(a, id=0) for a in steady.tables.alarms.all()] == [
        replace(a, id=0) for a in restarted.tables.alarms.all()
    ]
    restarted.loop.tick()
    for series in ("s1", "s2"):
        assert steady.loop.drift_status(series) == restarted.loop.drift_status(series)
    restarted.tables.database.close()
