"""What people's labels say of a line, over a real database, the real detectors and the real API."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import httpx
import pytest

from cloud.api.app import make_app
from cloud.api.drift import drift_routes
from cloud.api.fleet import fleet_routes
from cloud.drift.held_out import HeldOut
from cloud.drift.policy import DriftPolicy
from cloud.improve_loop import ImproveLoop, ImproveRules, Stored
from cloud.ports.alarms import Opened
from cloud.ports.records import Cursor
from cloud.review.retrain_policy import RetrainPolicy
from cloud.rollout.rollout_states import RolloutEvent
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from cloud.store.drift_traces import DriftTraces
from contract.messages import Accounting, Header, ReportedState, StationState, Summary
from contract.sketches.wire import to_wire
from tests.cloud.api.conftest import GUARDS, OPERATOR, serve
from tests.cloud.drift.conftest import StationLine
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases, PlainSigner
from tests.fakes.cloud_tables import T0, Tables, note, received
from tests.fakes.held_out import FakeHeldOut, record_of, watch_labels
from tests.fakes.link import RecordingLink

BUNDLE, BETTER = "a" * 64, "b" * 64
BALANCED = (0.3, 0.3, 0.2, 0.2)


class Line:
    """One station whose clock is the cloud's; people label what it kept. `restart` makes a new loop on the same database."""

    def __init__(self, tables: Tables, record: HeldOut | None, routine_per_day: int = 0) -> None:
        self.routine_per_day = routine_per_day
        self.tables, self.clock, self.link = tables, HandClock(T0), RecordingLink()
        self.line = StationLine("s1", seed=4)
        self.line.at, self.bundle = T0, BUNDLE
        self.records = FakeHeldOut({BUNDLE: record} if record else {})
        tables.add_online("s1", now=T0)
        tables.stations.commit([], [ReportedState("s1", "boot1", T0, BUNDLE, "COMMITTED")], T0)
        self.releases = FakeReleases(FakeRelease("v1", BUNDLE))
        self.trained: list[int] = []
        self.loop = self._new_loop()

    def _new_loop(self) -> ImproveLoop:
        t = self.tables
        self.watch = watch_labels(t, self.records)
        return ImproveLoop(
            stored=Stored(t.stations, t.summaries, t.alarms, t.samples, t.commands, t.rollouts, t.audit),
            releases=self.releases,
            carry_out=lambda *_: False,
            start_rollout=lambda *_: 0,
            link=self.link,
            labels=self.watch,
            policy=DriftPolicy(settle_windows=24),
            rules=ImproveRules(12, 0.5, 30.0, False, RetrainPolicy(), self.routine_per_day),
            now=self.clock.now,
        )

    def restart(self) -> None:
        self.loop.close()
        self.loop = self._new_loop()

    def send(self, windows: int, notes: int = 0) -> list[str]:
        """Send windows, each with the notes of audited frames; return the samples' names."""
        names = []
        for _ in range(windows):
            r = self.line.record()
            self.clock.wall = r.ended_at
            kept = tuple(note(f"s1-{r.seq}-{n}", at=r.started_at + n) for n in range(notes))
            header = Header("s1", r.boot, r.seq, r.started_at, r.ended_at, 0.0, True, self.bundle)
            frames = Accounting(captured=r.window.frames, passed=r.window.frames)
            self.tables.summaries.commit(received(Summary(header, frames, to_wire(r.window), kept)), [])
            names += [each.sample for each in kept]
        self.loop.tick()
        return names

    def label(self, names: Sequence[str], wrong_every: int) -> None:
        """People say that all of these were answered right but every so many-th (0: none is wrong)."""
        for number, name in enumerate(names):
            truth = "scratch" if wrong_every and number % wrong_every == 0 else "good"
            self.tables.samples.label(name, truth, "eva", self.clock.now())

    def asked(self) -> list[str]:
        """Return every sample whose pixels were asked for, in order."""
        uploads = [c for c in self.link.commands() if c.name == "upload_samples"]
        return [name for command in uploads for name in command.arguments["samples"]]

    @property
    def labels(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.loop.drift_status("s1")["labels"]
        return shown


@pytest.fixture
def line(tables: Tables) -> Iterator[Line]:
    made = Line(tables, record_of())
    yield made
    made.loop.close()


def test_answers_that_become_wrong_where_nothing_seen_moved_open_one_alarm(line: Line) -> None:
    line.label(line.send(40, notes=2), wrong_every=30)
    line.loop.tick()
    assert line.tables.alarms.all() == [], "one in thirty is what was promised"
    found = line.labels
    assert found["concept"]["found"] is False and found["concept"]["why"] == ""
    assert found["audit"]["labels"] == 80 and found["sequence"]["low"] < 0.96 < found["sequence"]["high"]
    line.label(line.send(12, notes=2), wrong_every=2)
    line.loop.tick()
    (alarm,) = line.tables.alarms.open()
    assert (alarm.series, alarm.cause, alarm.opened_at) == ("s1", "concept_shift", line.clock.now())
    assert alarm.sentence.startswith("answers became wrong: accuracy 0.8") and "on 104 audit labels" in alarm.sentence
    assert alarm.sentence.endswith("0.95 was promised; what is seen and answered is unchanged")
    assert T0 + 40 * 60 < alarm.seen_at < line.clock.now(), "by the station's clock: the frame that crossed"
    assert line.loop.drift_status("s1")["phase"] == "quiet", "the sketches cannot see it"
    line.loop.tick()
    told = [c.arguments["alarmed"] for c in line.link.commands() if c.name == "drift"]
    assert told == [True], "its thresholds promise nothing now"
    line.restart()
    line.send(3)
    assert len(line.tables.alarms.all()) == 1
    for estimate in ("ac", "atc"):
        assert line.labels[estimate]["valid"] is False and "became wrong" in line.labels[estimate]["why"]


def test_an_alarm_is_found_after_a_restart_between_label_and_look(line: Line) -> None:
    names = line.send(40, notes=2)
    line.label(names, wrong_every=3)
    line.restart()
    line.loop.tick()
    assert [alarm.cause for alarm in line.tables.alarms.open()] == ["concept_shift"]


def test_enrolled_again_the_alarm_closes_and_the_old_labels_count_no_more(line: Line) -> None:
    line.label(line.send(40, notes=2), wrong_every=3)
    line.loop.tick()
    line.loop.re_enrol("s1", "operator", "the label of a scratch was agreed anew")
    (alarm,) = line.tables.alarms.all()
    assert alarm.closed_why == "the label of a scratch was agreed anew"
    line.label(line.send(40, notes=2), wrong_every=0)
    line.restart()
    line.send(1)
    assert line.tables.alarms.open() == []
    assert line.labels["audit"]["labels"] == 80 and line.labels["concept"]["labels"] == 80


def test_a_release_that_answers_it_closes_the_alarm(line: Line) -> None:
    line.label(line.send(40, notes=2), wrong_every=3)
    line.loop.tick()
    tables = line.tables
    retrain = tables.alarms.start_retrain(tables.alarms.open()[0], "labels", line.clock.now())
    tables.alarms.update_retrain(retrain, state="released", version="v1.r1", ended_at=line.clock.now())
    line.releases.releases.append(FakeRelease("v1.r1", BETTER))
    tables.rollouts.create("v1.r1", BETTER, [["s1"]], ["s1"], "plumbline", line.clock.now())
    tables.rollouts.step(tables.rollouts.all()[0], RolloutEvent.ALL_WAVES_COMMITTED, "plumbline", "", line.clock.now())
    line.loop.tick()
    assert [alarm.closed_why for alarm in tables.alarms.all()] == ["answered by v1.r1"]
    line.bundle = BETTER
    line.send(3)
    assert line.tables.alarms.open() == [] and line.labels["audit"] is None


def test_wrong_answers_under_a_covariate_shift_are_its_doing(line: Line) -> None:
    line.label(line.send(30, notes=2), wrong_every=0)
    line.line.shift_by(sharpness=-6.0)
    line.label(line.send(20, notes=4), wrong_every=2)
    line.loop.tick()
    assert [alarm.cause for alarm in line.tables.alarms.all()] == ["covariate_shift"]
    found = line.labels
    assert found["concept"]["found"] is False and found["concept"]["labels"] < found["audit"]["labels"]
    for each in (found["concept"], found["ac"], found["atc"], found["shares"]):
        assert each["why"] == "an alarm is open: what it sees has changed"
    assert found["atc"]["valid"] is found["ac"]["valid"] is found["shares"]["valid"] is False
    assert found["atc"]["estimate"] is not None and len(found["shares"]["shares"]) == 4, "shown, and not valid"
    assert found["sentence"].startswith("accuracy 0."), "people's labels stay true; estimates are left out"
    assert "estimated" not in found["sentence"]


def test_wrong_answers_under_an_alarm_that_the_fleet_shares_are_its_doing_too(line: Line) -> None:
    line.send(30)
    line.tables.alarms.commit(
        Cursor(0, 0, 0), {}, [Opened("fleet", T0, line.clock.now(), "covariate_shift", "light")], []
    )
    line.label(line.send(20, notes=2), wrong_every=2)
    line.loop.tick()
    assert [alarm.series for alarm in line.tables.alarms.all()] == ["fleet"]
    assert (line.labels["audit"]["labels"], line.labels["concept"]["labels"]) == (40, 0)


def test_another_mix_of_parts_is_named_with_its_shares(line: Line) -> None:
    line.send(40)
    assert line.labels["shares"]["valid"] and line.labels["shares"]["sentence"] == ""
    assert line.labels["sentence"].startswith("estimated without labels 0.9")
    line.line.label_shares[:] = (0.1, 0.6, 0.15, 0.15)
    line.send(5)
    said = re.fullmatch(
        r"labels: scratch (\.\d\d) -> (\.\d\d) \((\.\d\d) to (\.\d\d)\)", line.watch.moved_share("s1", 5)
    )
    assert said is not None
    before, now, low, high = map(float, said.groups())
    assert before == pytest.approx(0.3, abs=0.06) and low <= 0.6 <= high and low < now < high
    remembered = re.search(r" -> (\.\d\d) \(", line.labels["shares"]["sentence"])
    assert remembered is None or float(remembered[1]) < now - 0.1, "most of what is remembered had not shifted yet"
    assert line.watch.moved_share("s1", 0) == "" == line.watch.moved_share("nobody", 5)
    line.send(35)
    (alarm,) = line.tables.alarms.open()
    assert alarm.cause == "label_shift"
    assert re.search(
        r"what is seen is unchanged; labels: scratch \.\d\d -> \.\d\d \(\.\d\d to \.\d\d\)$", alarm.sentence
    )
    shares = line.labels["shares"]
    assert shares["valid"] and shares["since"] == "first windows"
    scratch = shares["shares"][1]
    assert scratch["label"] == "scratch" and abs(scratch["before"] - 0.3) < 0.06
    assert scratch["low"] <= scratch["estimate"] <= scratch["high"] and abs(scratch["estimate"] - 0.62) < 0.06
    assert shares["sentence"].startswith("labels: scratch .") and " -> .6" in shares["sentence"]
    assert line.labels["atc"]["valid"], "a label shift leaves confidence alone"
    assert line.labels["concept"]["why"] == "what is answered has changed (label_shift)"


def test_while_a_camera_is_enrolled_nothing_is_claimed(line: Line) -> None:
    first, *others = line.send(12, notes=4)
    line.label([first], wrong_every=1)
    line.loop.tick()
    assert line.labels["audit"]["labels"] == 1 and line.labels["sentence"] == "", "one label is no news"
    line.label(others, wrong_every=1)
    line.loop.tick()
    assert line.tables.alarms.all() == [] and line.labels["atc"]["valid"] is False
    assert line.labels["concept"]["crossed_at"] is not None and "being enrolled" in line.labels["concept"]["why"]


def test_without_a_held_out_record_there_are_peoples_labels_and_a_reason(tables: Tables) -> None:
    line = Line(tables, None)
    line.label(line.send(40, notes=2), wrong_every=2)
    line.loop.tick()
    found = line.labels
    assert tables.alarms.all() == [] and found["audit"]["estimate"] == 0.5
    for each in (found["concept"], found["ac"], found["atc"], found["shares"]):
        assert each["why"] == "its release has no held-out record"
    line.loop.close()


def test_a_record_of_another_model_file_is_not_used(tables: Tables) -> None:
    line = Line(tables, record_of(artefact="f" * 64))
    line.send(40)
    assert "another artefact of its bundle" in line.labels["atc"]["why"]
    line.loop.close()


def test_labels_given_in_any_order_twice_and_over_restarts_come_to_the_same(line: Line) -> None:
    names = line.send(40, notes=2)
    line.label(names, wrong_every=7)
    line.loop.tick()
    before = line.labels
    truths = {name: line.tables.samples.get(name).truth or "" for name in names}
    shuffled = names + names[:30]
    random.Random(1).shuffle(shuffled)
    for name in shuffled:
        line.clock.forward(1.0)
        line.tables.samples.label(name, truths[name], "max", line.clock.now())
        line.loop.tick()
    assert line.labels == before
    line.restart()
    assert line.labels == before


def test_a_damaged_state_of_answers_starts_anew(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    line.send(40)
    line.tables.answers.save({"s1": b"\x93torn"})
    line.restart()
    assert "the answers of s1 start anew" in caplog.text and line.labels["concept"]["why"] == "no window is in"
    line.send(5)
    assert line.labels["shares"]["answers"] == 5 * 32


def test_the_api_serves_it_with_validity_flags(line: Line) -> None:
    line.label(line.send(40, notes=2), wrong_every=20)
    line.loop.tick()
    t = line.tables
    control = RolloutLoop(
        rollouts=t.rollouts, stations=t.stations, releases=line.releases, signer=PlainSigner(), link=line.link,
        settings=RolloutSettings(), now=line.clock.now,
    )  # fmt: skip
    routes = [
        drift_routes(
            guards=GUARDS, stations=t.stations, alarms=t.alarms, traces=DriftTraces(t.database), drift=line.loop
        ),
        fleet_routes(
            guards=GUARDS, stations=t.stations, summaries=t.summaries, samples=t.samples, control=control,
            drift=line.loop, broker_connected=lambda: True, now=line.clock.now,
        ),
    ]  # fmt: skip
    served = serve(make_app(routes))
    url = next(served)
    bearer = {"Authorization": f"Bearer {OPERATOR}"}
    found = httpx.get(f"{url}/v1/drift/s1", headers=bearer, timeout=60).json()["labels"]
    fleet = httpx.get(f"{url}/v1/fleet", headers=bearer, timeout=60).json()
    next(served, None)
    assert set(found) == {"sentence", "audit", "sequence", "concept", "shares", "ac", "atc", "disputed"}
    assert {name: (found[name]["valid"], found[name]["why"]) for name in ("ac", "atc", "shares")} == {
        "ac": (True, ""), "atc": (True, ""), "shares": (True, "")
    }  # fmt: skip
    assert found["audit"]["low"] < found["audit"]["estimate"] == 0.95 < found["audit"]["high"]
    assert (found["concept"]["threshold"], found["concept"]["found"]) == (1000.0, False)
    assert found["sentence"].startswith("accuracy 0.95 (0.88 to 0.98) on 80 audit labels; estimated without labels 0.9")
    assert fleet["stations"][0]["drift"]["labels"] == {"sentence": found["sentence"]}


def test_a_few_frames_a_day_are_asked_for_while_nothing_drifts(tables: Tables) -> None:
    line = Line(tables, record_of(), routine_per_day=24)
    for minute in range(160):
        line.send(1, notes=2)
        if minute == 70:
            line.restart()
    asked = line.asked()
    assert len(asked) == 3, "one an hour, restart or not"
    samples = [tables.samples.get(name) for name in asked]
    assert all(s.reason == "audit" and s.alarm is None for s in samples)
    apart = [(b.requested_at or 0) - (a.requested_at or 0) for a, b in pairwise(samples)]
    assert all(3_600 <= seconds < 4_300 for seconds in apart)
    assert all((s.requested_at or 0) - s.captured_at < 120 for s in samples), "the newest"
    line.line.shift_by(sharpness=-6.0)
    line.send(8, notes=2)
    (alarm,) = tables.alarms.open()
    of_alarm = {s.sample for s in tables.samples.of_alarm(alarm.id)}
    line.clock.forward(4_000.0)
    line.loop.tick()
    assert set(line.asked()) - set(asked) == of_alarm, "a drifted line is looked at because of its alarm"
    line.loop.close()


def test_no_frame_is_asked_for_of_a_station_that_is_away_and_none_where_nobody_wants_any(tables: Tables) -> None:
    line = Line(tables, record_of(), routine_per_day=24)
    tables.stations.commit([StationState("s1", "b1", False, T0)], [], T0)
    line.send(5, notes=2)
    assert line.asked() == []
    line.routine_per_day = 0
    line.restart()
    tables.stations.commit([StationState("s1", "b1", True, T0)], [], T0)
    line.send(5, notes=2)
    assert line.asked() == []
    line.loop.close()


def test_answers_that_become_wrong_are_found_from_routine_labels_alone(tables: Tables) -> None:
    line = Line(tables, record_of(), routine_per_day=1_440)
    answered = 0
    for window in range(150):
        line.send(1, notes=1)
        fresh, answered = line.asked()[answered:], len(line.asked())
        line.label(fresh, wrong_every=2 if window > 60 else 0)
        if tables.alarms.open():
            break
    (alarm,) = tables.alarms.open()
    assert alarm.cause == "concept_shift" and 61 < window < 110
    line.loop.close()
