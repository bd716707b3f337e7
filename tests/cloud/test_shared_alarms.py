"""An alarm that many cameras share is answered as any other: its members are asked for frames, and one lesson mends them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from cloud.ports.alarms import Retrain
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
