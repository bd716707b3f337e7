"""The values that the fleet page shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloud.dashboard.fleet_view import FleetView, fleet_view
from cloud.ports.alarms import Decided, Opened
from cloud.ports.records import Cursor
from contract.messages import ReportedState, StationState
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases
from tests.fakes.cloud_tables import T0, Tables, received, summary


def _view(tables: Tables, now: float = T0, drift_of: Callable[[str], list[dict[str, Any]]] | None = None) -> FleetView:
    def drift(station: str) -> list[dict[str, Any]]:
        return [{"camera": "", "sentence": f"{station} is quiet", "phase": "quiet", "labels": {"sentence": ""}}]

    return fleet_view(
        stations=tables.stations, summaries=tables.summaries, samples=tables.samples, alarms=tables.alarms,
        rollouts=tables.rollouts, releases=FakeReleases(FakeRelease("v1", "d" * 64)), audit=tables.audit,
        drift_of=drift_of or drift, broker_connected=True,
        now=now,
    )  # fmt: skip


def test_an_empty_fleet_is_an_empty_view(tables: Tables) -> None:
    view = _view(tables)
    assert (view.stations, view.alarms, view.rollouts, view.acts, view.simulated) == ([], [], [], [], [])
    assert view.decisions == []
    assert (view.online, view.alarms_open, view.review_waiting, view.dead_letters) == (0, 0, 0, 0)


def test_the_verdicts_of_a_station_add_up_to_what_it_decided(tables: Tables) -> None:
    tables.add_online("s1", "s2")
    tables.stations.commit([StationState("s2", "b1", True, T0, simulated=True)], [], T0)
    tables.stations.commit([], [ReportedState("s1", "b1", T0, "d" * 64, "ROLLED_BACK", reason="it crashed")], T0)
    tables.summaries.commit(received(summary("s1", 1), summary("s1", 4)), [])
    view = _view(tables, T0 + 90)
    row, other = view.stations
    assert (row["frames"], row["pass"], row["reject"], row["review"], row["missing"]) == (22, 14, 4, 2, 2)
    assert (row["model"], row["update"], row["drift"]) == ("v1", "ROLLED_BACK: it crashed", "s1 is quiet")
    assert (row["heard"], other["heard"], other["model"]) == ("2 min ago", "never", "none yet")
    assert view.simulated == ["s2"] and view.online == 2


def test_a_station_with_several_cameras_is_one_row_that_says_how_each_stands(tables: Tables) -> None:
    tables.add_online("s1")
    of_left, of_right = summary("s1", 1, camera="left"), summary("s1", 2, camera="right")
    tables.summaries.commit(received(of_left, of_right), [])
    tables.alarms.commit(Cursor(0, 1, 1), {}, [Opened("s1/left", T0, T0, "covariate_shift", "lens: fogged")], [])
    states = [
        {"camera": "left", "sentence": "lens: fogged", "phase": "alarmed", "labels": {"sentence": ""}},
        {"camera": "right", "sentence": "as ever", "phase": "quiet", "labels": {"sentence": "accuracy 0.95"}},
    ]
    view = _view(tables, drift_of=lambda _: states)
    (row,), (alarm,) = view.stations, view.alarms
    assert (row["station"], row["phase"], row["frames"]) == ("s1", "alarmed", 22), "frames are the station's"
    assert row["drift"] == "left: lens: fogged · right: as ever | accuracy 0.95"
    assert (alarm["station"], alarm["what"]) == ("s1/left", "lens: fogged")


def test_who_was_never_added_is_named_and_has_no_row(tables: Tables) -> None:
    tables.add_online("s1")
    tables.summaries.commit(received(summary("ghost", 1)), [])
    view = _view(tables)
    assert view.strangers == ["ghost"] and [row["station"] for row in view.stations] == ["s1"]


def test_a_bundle_of_no_release_is_shown_by_its_digest(tables: Tables) -> None:
    tables.add_online("s1")
    tables.stations.commit([], [ReportedState("s1", "b1", T0, "abc123" * 10 + "abcd", "IDLE")], T0)
    assert _view(tables).stations[0]["model"] == "abc123abc123"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s ago"), (0, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (3_600, "1 h ago"), (200_000, "2 d ago")],
)
def test_times_are_in_words(tables: Tables, seconds: float, words: str) -> None:
    tables.audit.append(T0, "operator", "act", "")
    assert _view(tables, T0 + seconds).acts[0]["when"] == words


def test_alarms_come_newest_first_with_what_answers_them_and_no_more_than_a_page(tables: Tables) -> None:
    for number in range(25):
        tables.alarms.commit(Cursor(0, number, number), {}, [Opened("s1", T0, T0, "frozen", f"sentence {number}")], [])
        if number < 24:
            tables.alarms.close("s1", T0 + 1, "24 quiet windows")
    tables.alarms.start_retrain(tables.alarms.open()[0], "accuracy 0.3", T0)
    view = _view(tables)
    assert view.alarms_open == 1 and len(view.alarms) == 20
    assert [a["state"] for a in view.alarms[:2]] == ["open", "closed: 24 quiet windows"]
    assert [(a["what"], a["answer"]) for a in view.alarms[:2]] == [("sentence 24", "queued"), ("sentence 23", "none")]
    (decision,) = view.decisions
    assert (decision["series"], decision["decision"], decision["reason"]) == ("s1", "retrain", "accuracy 0.3")


def test_an_open_alarm_says_why_it_is_not_answered_yet(tables: Tables) -> None:
    tables.alarms.commit(Cursor(0, 1, 1), {}, [Opened("s1/left", T0, T0, "covariate_shift", "lens: fogged")], [])
    assert _view(tables).alarms[0]["answer"] == "none yet"
    tables.alarms.note_decision(Decided("s1/left", T0, False, "drift", "12 of 120 labels are there"))
    view = _view(tables)
    assert view.alarms[0]["answer"] == "not yet: 12 of 120 labels are there"
    assert (view.decisions[0]["decision"], view.decisions[0]["called"]) == ("not now", "drift")


def test_a_rollout_names_each_station_and_why_it_ended(tables: Tables) -> None:
    tables.add_online("s1", "s2")
    tables.rollouts.create("v1", "d" * 64, [["s1"], ["s2"]], [], "operator", T0)
    (row,) = _view(tables).rollouts
    assert (row["version"], row["state"], row["stations"]) == ("v1", "RUNNING", "s1 planned, s2 planned")
