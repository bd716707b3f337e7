"""What the drift page says, without a page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.dashboard import drift_view as drift_view_module
from cloud.dashboard.drift_view import DriftBooks, chart_words, drift_view, figures_in_words, matching, series_view
from cloud.drift.trace import TracePoint
from cloud.store.drift_traces import DriftTraces
from contract.errors import NotFound, RefusedError
from tests.cloud.test_drift_of_cameras import SERIES
from tests.cloud.test_improve_loop import Fleet
from tests.cloud.test_shared_alarms import Sharing
from tests.fakes.cloud_tables import open_tables


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(open_tables(tmp_path_factory.mktemp("drift") / "cloud.db"))
    made.may_train.clear()
    yield made
    made.may_train.set()
    made.loop._retrains._worker.shutdown(wait=True)
    made.tables.database.close()


def books(fleet: Fleet) -> DriftBooks:
    tables = fleet.tables
    return DriftBooks(fleet.loop, tables.alarms, tables.samples, DriftTraces(tables.database), fleet.clock.now)


def test_a_camera_is_learnt_then_drifts_and_what_is_done_is_told(fleet: Fleet) -> None:
    fleet.send(5)
    found = drift_view(books(fleet))
    assert (found.watched, found.alarms, found.enrolling_in_all) == (2, (), 2)
    assert found.enrolling[0] == ("s1", "enrolling: 5 of 24 windows")
    fleet.drift()
    found = drift_view(books(fleet))
    (alarm,) = found.alarms
    assert (found.alarmed, found.enrolling, alarm.may_retrain) == (("s1",), (), False)
    assert alarm.doing == "0 parts asked for, 0 came, 0 labelled; no retrain now: 0 of 12 labels are there"
    with pytest.raises(RefusedError, match="nothing of this alarm is labelled"):
        fleet.loop.start_retrain(alarm.alarm.id, "eva", "now")
    with pytest.raises(NotFound, match="no alarm 99 is open"):
        fleet.loop.start_retrain(99, "eva", "now")
    fleet.send(1, "s1", notes=3)
    fleet.upload(fleet.asked()[0])
    fleet.label(fleet.asked()[0][:1])
    assert drift_view(books(fleet)).alarms[0].may_retrain
    retrain = fleet.loop.start_retrain(alarm.alarm.id, "eva", "the line waits")
    (again,) = drift_view(books(fleet)).alarms
    assert "retrain 1: queued; a retrain was decided: eva: the line waits" in again.doing and not again.may_retrain
    with pytest.raises(RefusedError, match=f"retrain {retrain} is under way"):
        fleet.loop.start_retrain(alarm.alarm.id, "eva", "twice")
    assert ("eva", "retrain") in [(e.actor, e.act) for e in fleet.tables.audit.entries()]


def test_what_is_counted_is_all_of_it_however_little_is_listed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(drift_view_module, "LISTED", 0)
    fleet.drift()
    found = drift_view(books(fleet))
    assert (found.alarms, found.alarms_in_all, found.alarmed_in_all) == ((), 1, 1)
    monkeypatch.undo()
    monkeypatch.setattr(drift_view_module, "_MEMBERS", 2)
    sharing = Sharing(open_tables(tmp_path / "cloud.db"))
    sharing.drift_together("s6")
    (alarm,) = drift_view(books(sharing)).alarms
    assert len(alarm.members) == 2 and alarm.members_in_all == len(SERIES) - 1
    sharing.loop._retrains._worker.shutdown(wait=True)
    sharing.tables.database.close()


def test_one_series_is_found_by_a_part_of_its_name(fleet: Fleet) -> None:
    fleet.drift()
    assert matching(books(fleet), " S ") == ("s1", "s2") and matching(books(fleet), "2") == ("s2",)
    assert matching(books(fleet), "x") == () and series_view(books(fleet), "nobody") is None
    found = series_view(books(fleet), "s1")
    assert found is not None and found.phase == "alarmed" and found.evidence[0].startswith("sharpness -")
    assert found.points[-1].held > found.threshold_log10 > 3.0
    assert all(earlier.at < later.at for earlier, later in zip(found.points, found.points[1:], strict=False))


def test_the_chart_has_words() -> None:
    assert chart_words([], 3.0).startswith("No window has been judged yet")
    low, high = TracePoint(1, 0.5, 0.5, math.nan), TracePoint(2, 15.0, 15.0, 0.0)
    assert "never over that in this chart" in chart_words([low], 3.0)
    said = chart_words([low, high], 3.0)
    assert "at most 10^15.0" in said and "in 1 of 2 windows" in said and "drawn as 10^12" in said


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        (
            {"labels": 12, "train": {"base_accuracy": 0.912345}, "gate": {"passed": True}},
            "12 labels; base accuracy 0.912; passed the gate",
        ),
        ({"gate": {"passed": False}, "trouble": "no room"}, "did not pass the gate; no room"),
        ({}, ""),
        ([1], ""),
    ],
)  # fmt: skip
def test_what_a_retrain_measured_in_a_line(figures: object, words: str) -> None:
    assert figures_in_words(json.dumps(figures)) == words
    assert figures_in_words("torn {") == ""


def test_who_shares_an_alarm_is_named_and_who_does_not_is_not(tmp_path: Path) -> None:
    sharing = Sharing(open_tables(tmp_path / "cloud.db"))
    sharing.drift_together("s6")
    tables = sharing.tables
    found = drift_view(
        DriftBooks(sharing.loop, tables.alarms, tables.samples, DriftTraces(tables.database), sharing.clock.now)
    )
    (alarm,) = found.alarms
    assert alarm.alarm.series == "fleet" and set(alarm.members) == set(SERIES) - {"s6"} == set(found.alarmed)
    one = series_view(
        DriftBooks(sharing.loop, tables.alarms, tables.samples, DriftTraces(tables.database), sharing.clock.now),
        found.alarmed[0],
    )
    assert one is not None and one.shared_by == ("fleet",)
    sharing.loop._retrains._worker.shutdown(wait=True)
    tables.database.close()
