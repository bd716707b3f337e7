"""An alarm that many cameras share is answered as any other: its members are asked for frames, and one lesson mends them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import pytest

from cloud.drift.causes import Cause
from cloud.drift.fleet import FleetDrift
from cloud.drift.fleet_status import DriftEvent, EventKind
from cloud.ports.alarms import Opened, Retrain
from cloud.ports.records import Cursor
from cloud.ports.samples import Sample
from tests.cloud.test_drift_of_cameras import BETTER, LABELS, SERIES, Fleet
from tests.fakes.cloud_fleet import FakeRelease
from tests.fakes.cloud_tables import Tables


class Sharing(Fleet):
    """A fleet under one sun, whose trainer takes any lesson."""

    def _train(self, retrain: Retrain, labelled: Sequence[Sample], base: str, version: str) -> bool:
        self.releases.releases.append(FakeRelease(version, BETTER))
        self.tables.alarms.update_retrain(retrain.id, state="released", version=version, ended_at=self.clock.now())
        return True

    def drift_together(self, *spared: str, notes: int = 0) -> None:
        """Enrol everybody, then let the light of all but `spared` change."""
        self.send(30)
        for series in set(SERIES) - set(spared):
            self.lines[series].shift_by(sharpness=-6.0)
        self.send(8, notes)

    def asked(self) -> Counter[str]:
        """Return how many frames each station was asked for."""
        return Counter(c.station for c in self.uploads() for _ in c.arguments["samples"])

    def settle(self) -> None:
        """Let the worker end what it was given, and look at it."""
        self.loop.tick()
        self.loop._retrains._worker.submit(lambda: None).result(20.0)
        self.loop.tick()


@pytest.fixture
def sharing(tables: Tables) -> Iterator[Sharing]:
    made = Sharing(tables)
    yield made
    made.loop._retrains._worker.shutdown(wait=True)


def test_those_that_share_an_alarm_are_asked_for_frames_a_few_of_them_with_the_budget_split(sharing: Sharing) -> None:
    sharing.drift_together("s6")
    (alarm,) = sharing.tables.alarms.open()
    assert alarm.series == "fleet"
    sharing.send(4, notes=4)
    asked = sharing.tables.samples.of_alarm(alarm.id)
    assert len(asked) == LABELS and all(sample.captured_at >= alarm.seen_at for sample in asked)
    assert sorted(Counter((s.station, s.camera) for s in asked).values()) == [2, 3, 3]
    assert "s6" not in sharing.asked(), "it does not drift"
    before = sharing.asked()
    sharing.send(6, notes=4)
    assert sharing.asked() == before, "the budget is spent"


def test_a_member_that_keeps_no_frames_leaves_its_share_to_the_others(sharing: Sharing) -> None:
    sharing.drift_together()
    (alarm,) = sharing.tables.alarms.open()
    sharing.send(4, notes=4)
    first = sharing.tables.samples.of_alarm(alarm.id)
    silent = first[0].station
    for _ in range(8):
        for sample in sharing.tables.samples.of_alarm(alarm.id):
            if sample.station != silent and sample.received_at is None:
                sharing.tables.samples.mark_received(sample.sample, sample.station, "e" * 64, sharing.clock.now())
        sharing.clock.forward(31.0)
        sharing.send(1, notes=4)
    come = [s for s in sharing.tables.samples.of_alarm(alarm.id) if s.received_at is not None]
    assert len(come) == LABELS


def test_a_shared_alarm_is_answered_by_one_retrain_that_renews_all_its_members(sharing: Sharing) -> None:
    sharing.drift_together("s6")
    (alarm,) = sharing.tables.alarms.open()
    sharing.send(4, notes=4)
    for sample in sharing.tables.samples.of_alarm(alarm.id):
        sharing.tables.samples.mark_received(sample.sample, sample.station, "e" * 64, sharing.clock.now())
        sharing.tables.samples.label(sample.sample, "scratch", "eva", sharing.clock.now())
    sharing.settle()
    (retrain,) = sharing.tables.alarms.retrains()
    asked = {sample.station for sample in sharing.tables.samples.of_alarm(alarm.id)}
    assert retrain.alarm == alarm.id and retrain.station in asked
    ((version, changed),) = sharing.rollouts
    assert (version, changed[0], set(changed)) == (retrain.version, retrain.station, asked)
    with sharing.tables.database.write() as connection:
        connection.exec_driver_sql("UPDATE rollouts SET state = 'DONE'")
    sharing.loop.tick()
    assert [(a.series, a.closed_why) for a in sharing.tables.alarms.all()] == [("fleet", f"answered by {version}")]
    enrolled = {series: sharing.loop.drift_status(series)["enrolled"] for series in SERIES}
    assert enrolled.pop("s6") > 0 and set(enrolled.values()) == {0}
    assert "fleet" not in sharing.tables.alarms.load_state()[1], "it is no station"
    sharing.restart()
    sharing.send(30)
    assert sharing.tables.alarms.open() == []


def test_a_camera_that_broke_is_no_member_of_the_alarm_the_others_share(sharing: Sharing) -> None:
    sharing.send(30)
    sharing.lines["s5"].shift_by(mean=-1e9, spread=-1e9, dark=1e9)
    sharing.send(6)
    assert [a.series for a in sharing.tables.alarms.open()] == ["s5"]
    assert sharing.loop.drift_status("s5")["cause"] == "black"
    for series in set(SERIES) - {"s5"}:
        sharing.lines[series].shift_by(sharpness=-6.0)
    sharing.send(12, notes=1)
    (shared,) = [a for a in sharing.tables.alarms.open() if a.series == "fleet"]
    assert "s5" not in {sample.station for sample in sharing.tables.samples.of_alarm(shared.id)}
    sharing.loop.re_enrol("fleet", "eva", "a new lamp")
    assert [a.series for a in sharing.tables.alarms.open()] == ["s5"], "no new normal mends a camera"
    assert sharing.loop.drift_status("s5")["enrolled"] > 0


def test_what_changed_while_nobody_watched_is_stored_before_anything_else(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`resume` compares what it is told with what is true; with this fleet it never finds a difference, so one is given."""
    sharing.send(1)
    for series, cause in (("hall", "covariate_shift"), ("s2", "concept_shift")):
        sharing.tables.alarms.commit(Cursor(0, 7, 7), {}, [Opened(series, 1.0, 1.0, cause, "lens: fogged")], [])
    told: list[str] = []

    def resume(fleet: FleetDrift, names: Iterable[str]) -> list[DriftEvent]:
        told.extend(names)
        ended = DriftEvent(EventKind.SHARED_ALARM_CLEARED, "hall", 2.0, Cause.NONE, "no such cohort any more", (), 0.0)
        begun = DriftEvent(EventKind.ALARM_RAISED, "s3", 2.0, Cause.COVARIATE_SHIFT, "lens: dull", (), 9.0)
        return [ended, begun]

    monkeypatch.setattr(FleetDrift, "resume", resume)
    sharing.restart()
    assert told == ["hall"], "what people's labels opened the detectors know nothing of"
    sharing.loop.tick()
    assert [a.series for a in sharing.tables.alarms.open()] == ["s2", "s3"]
    assert sharing.tables.alarms.all()[0].closed_why == "no such cohort any more"
    sharing.tables.alarms.close("s3", 3.0, "by hand")
    sharing.loop.tick()
    assert [a.series for a in sharing.tables.alarms.open()] == ["s2"], "it is told once"


@pytest.mark.slow
def test_a_station_that_recovers_and_drifts_again_between_two_looks_stays_alarmed(sharing: Sharing) -> None:
    sharing.send(30)
    sharing.lines["s2"].shift_by(sharpness=-6.0)
    sharing.send(6)
    (alarm,) = sharing.tables.alarms.open()
    watched, sharing.loop = sharing.loop, Absent()  # type: ignore[assignment]
    sharing.lines["s2"].shift_by(sharpness=0.0)
    sharing.send(40)
    sharing.lines["s2"].shift_by(sharpness=-6.0)
    sharing.send(6)
    sharing.loop = watched
    sharing.loop.tick()
    assert sharing.loop.drift_status("s2")["phase"] == "alarmed"
    assert [a.id for a in sharing.tables.alarms.open()] == [alarm.id]


class Absent:
    """A loop that does not look."""

    def tick(self) -> None:
        """Do nothing."""
