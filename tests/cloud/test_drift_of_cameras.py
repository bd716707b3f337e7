"""Drift is watched camera by camera: the alarm, the notice, the frames asked for and the new normal are one camera's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.drift.policy import DriftPolicy
from cloud.improve_loop import ImproveLoop, ImproveRules, Stored
from cloud.ports.alarms import Retrain
from cloud.ports.samples import Sample
from cloud.ports.series import MAX_SERIES_CHARS, series_name, split_series
from cloud.review.retrain_policy import RetrainPolicy
from contract.messages import Accounting, Command, Header, Summary
from contract.sketches.wire import to_wire
from tests.cloud.drift.conftest import StationLine
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases
from tests.fakes.cloud_tables import Tables, note, received
from tests.fakes.held_out import watch_labels
from tests.fakes.link import RecordingLink

BUNDLE, BETTER = "a" * 64, "b" * 64
LABELS = 8
SERIES = ("s1/left", "s1/right", "s2", "s3", "s4", "s5", "s6")


class Fleet:
    """s1 has two cameras behind one outbox, the others one; `restart` makes a new loop on the same database."""

    def __init__(self, tables: Tables) -> None:
        self.tables, self.clock, self.link = tables, HandClock(), RecordingLink()
        self.lines = {series: StationLine(series, seed=n) for n, series in enumerate(SERIES)}
        self.seqs = {split_series(series)[0]: 0 for series in SERIES}
        self.rollouts: list[tuple[str, tuple[str, ...]]] = []
        self.releases = FakeReleases(FakeRelease("v1", BUNDLE))
        tables.add_online(*self.seqs, now=self.clock.now())
        self.restart()

    def restart(self) -> None:
        t = self.tables
        self.loop = ImproveLoop(
            stored=Stored(t.stations, t.summaries, t.alarms, t.samples, t.commands, t.rollouts, t.audit),
            releases=self.releases,
            carry_out=self._train,
            start_rollout=self._roll_out,
            link=self.link,
            labels=watch_labels(t),
            policy=DriftPolicy(),
            rules=ImproveRules(LABELS, 0.5, 30.0, True, RetrainPolicy(LABELS, 0.9, 1e9, 4)),
            now=self.clock.now,
        )

    def _train(self, retrain: Retrain, labelled: Sequence[Sample], base: str, version: str) -> bool:
        assert {sample.camera for sample in labelled} == {"left"}
        self.releases.releases.append(FakeRelease(version, BETTER))
        self.tables.alarms.update_retrain(retrain.id, state="released", version=version, ended_at=self.clock.now())
        return True

    def _roll_out(self, version: str, changed: tuple[str, ...], actor: str) -> int:
        self.rollouts.append((version, changed))
        return self.tables.rollouts.create(version, BETTER, [["s2"], ["s1"]], changed, actor, self.clock.now())

    def send(self, windows: int, notes: int = 0) -> None:
        """Every camera sends windows; those of one station go through one sequence, in turn."""
        for _ in range(windows):
            for series, line in self.lines.items():
                station, camera = split_series(series)
                self.seqs[station] += 1
                r = line.record()
                header = Header(
                    station, "boot1", self.seqs[station], r.started_at, r.ended_at, 0.0, True, BUNDLE, camera=camera
                )
                kept = tuple(
                    note(f"{station}-{camera}-{r.seq}-{n}", at=r.ended_at, reason=("audit", "hard")[n % 2])
                    for n in range(notes)
                )
                frames = Accounting(captured=r.window.frames, passed=r.window.frames)
                told = Summary(header, frames, to_wire(r.window), kept)
                assert self.tables.summaries.commit(received(told), []) == 1
        self.loop.tick()

    def drift(self) -> None:
        """Enrol everybody, then fog the left lens of s1."""
        self.send(30)
        self.lines["s1/left"].shift_by(sharpness=-6.0)
        self.send(6)

    def notices(self) -> list[tuple[str, str | None, bool]]:
        told = [command for command in self.link.commands() if command.name == "drift"]
        return [(c.station, c.arguments.get("camera"), c.arguments["alarmed"]) for c in told]

    def uploads(self) -> list[Command]:
        return [command for command in self.link.commands() if command.name == "upload_samples"]


@pytest.fixture
def fleet(tables: Tables) -> Iterator[Fleet]:
    made = Fleet(tables)
    yield made
    made.loop._retrains._worker.shutdown(wait=True)


def test_one_camera_that_drifts_is_alarmed_and_no_other(fleet: Fleet) -> None:
    fleet.drift()
    fleet.send(10)
    (alarm,) = fleet.tables.alarms.all()
    assert (alarm.series, alarm.station, alarm.camera) == ("s1/left", "s1", "left")
    assert alarm.sentence.startswith("lens: sharpness -")
    left, right = fleet.loop.drift_of("s1")
    assert [(shown["station"], shown["camera"], shown["phase"]) for shown in (left, right)] == [
        ("s1/left", "left", "alarmed"), ("s1/right", "right", "quiet"),
    ]  # fmt: skip
    (only,) = fleet.loop.drift_of("s2")
    assert (only["station"], only["camera"], only["phase"]) == ("s2", "", "quiet")
    fleet.restart()
    assert [shown["phase"] for shown in fleet.loop.drift_of("s1")] == ["alarmed", "quiet"]
    assert [shown["phase"] for shown in fleet.loop.drift_of("never heard of")] == ["enrolling"]


def test_the_stations_notice_names_the_camera_and_the_other_camera_is_told_nothing(fleet: Fleet) -> None:
    fleet.drift()
    fleet.send(3)
    assert fleet.notices() == [("s1", "left", True)], "the right camera's thresholds keep their promise"
    fleet.loop.re_enrol("s1/left", "eva", "new lens")
    fleet.loop.tick()
    fleet.loop.tick()
    assert fleet.notices() == [("s1", "left", True), ("s1", "left", False)]


def test_cameras_that_drift_one_after_the_other_have_an_alarm_each(fleet: Fleet) -> None:
    fleet.drift()
    fleet.lines["s1/right"].shift_by(sharpness=-6.0)
    fleet.send(6)
    assert sorted(alarm.series for alarm in fleet.tables.alarms.open()) == ["s1/left", "s1/right"]
    assert fleet.notices() == [("s1", "left", True), ("s1", "right", True)]
    fleet.loop.re_enrol("s1/right", "eva", "new lens")
    fleet.loop.tick()
    assert [alarm.series for alarm in fleet.tables.alarms.open()] == ["s1/left"]
    assert fleet.notices()[2:] == [("s1", "right", False)]


def test_people_are_asked_for_frames_of_the_drifted_camera_alone(fleet: Fleet) -> None:
    fleet.drift()
    fleet.send(5, notes=4)
    (upload,) = fleet.uploads()
    assert (upload.station, upload.arguments["camera"]) == ("s1", "left")
    assert len(upload.arguments["samples"]) == LABELS
    assert all(name.startswith("s1-left-") for name in upload.arguments["samples"])


def test_a_retrain_answers_a_cameras_alarm_for_its_station_and_renews_that_camera_alone(fleet: Fleet) -> None:
    fleet.drift()
    fleet.send(5, notes=4)
    for name in fleet.uploads()[0].arguments["samples"]:
        fleet.tables.samples.mark_received(name, "s1", "e" * 64, fleet.clock.now())
        fleet.tables.samples.label(name, "scratch", "eva", fleet.clock.now())
    fleet.loop.tick()
    fleet.loop._retrains._worker.submit(lambda: None).result(20.0)  # the one worker has done what came before
    fleet.loop.tick()
    (retrain,) = fleet.tables.alarms.retrains()
    assert retrain.station == "s1"
    # A bundle is a station's: it comes last in the rollout and is not held to agreement there.
    assert fleet.rollouts == [(retrain.version, ("s1",))]
    with fleet.tables.database.write() as connection:
        connection.exec_driver_sql("UPDATE rollouts SET state = 'DONE'")
    fleet.loop.tick()
    assert fleet.tables.alarms.open() == []
    right, left = sorted(fleet.loop.drift_of("s1"), key=lambda shown: shown["camera"], reverse=True)
    assert (left["enrolled"], right["phase"]) == (0, "quiet")
    assert right["enrolled"] > 0


def test_stations_with_one_camera_are_told_as_ever(fleet: Fleet) -> None:
    fleet.send(30)
    fleet.lines["s2"].shift_by(sharpness=-6.0)
    fleet.send(6, notes=4)
    fleet.send(1)
    assert [alarm.series for alarm in fleet.tables.alarms.open()] == ["s2"]
    assert all("camera" not in command.arguments for command in fleet.link.commands())
    assert fleet.notices() == [("s2", None, True)]
    assert fleet.uploads()


def test_a_cause_shared_by_the_fleet_is_told_to_every_camera_that_has_it(fleet: Fleet) -> None:
    fleet.send(30)
    for line in fleet.lines.values():
        line.shift_by(sharpness=-6.0)
    fleet.send(8)
    told = {(station, camera) for station, camera, alarmed in fleet.notices() if alarmed}
    assert told == {("s1", "left"), ("s1", "right"), *((f"s{n}", None) for n in range(2, 7))}


NAMES = st.tuples(st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,62}\Z"), st.from_regex(r"\A[a-z0-9-]{0,32}\Z"))


@given(NAMES)
def test_a_series_is_read_back_as_what_it_was_made_of(named: tuple[str, str]) -> None:
    assert split_series(series_name(*named)) == named
    assert len(series_name(*named)) <= MAX_SERIES_CHARS
    assert series_name(named[0], "") == named[0]
