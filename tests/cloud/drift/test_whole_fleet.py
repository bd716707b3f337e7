"""A whole fleet: one alarm for what many share, and a promise about false ones."""

from __future__ import annotations

import json
import random

import pytest

from cloud.__main__ import main
from cloud.drift.causes import Cause
from cloud.drift.fleet import FLEET, FleetDrift
from cloud.drift.fleet_status import DriftEvent, EventKind, StationPhase
from cloud.drift.policy import DriftPolicy
from cloud.drift.simulate import UPSETS, Plant, drifts, windows
from cloud.drift.simulated_watch import figures_of, hourly_policy, watch_fleet

POLICY = DriftPolicy(enrol_windows=24, settle_windows=24, reorder_windows=1)
RAISED = (EventKind.ALARM_RAISED, EventKind.SHARED_ALARM_RAISED)


def _enrolled(new_line, count: int, cohorts=None):
    fleet = FleetDrift(POLICY, cohorts)
    lines = [new_line(f"s{number:03d}", seed=number) for number in range(count)]
    for line in lines:
        for record in line.records(26):
            fleet.observe(record)
    return fleet, lines


def _rounds(fleet: FleetDrift, lines, count: int, rng: random.Random | None = None) -> list[DriftEvent]:
    events = []
    for _ in range(count):
        records = [line.record() for line in lines]
        if rng is not None:
            rng.shuffle(records)
        events += [event for record in records for event in fleet.observe(record)]
    return events


@pytest.mark.long
@pytest.mark.parametrize("sd", [1.2, 5.0])
def test_one_shared_cause_on_100_stations_raises_one_fleet_alarm_and_not_100(new_line, sd) -> None:
    fleet, lines = _enrolled(new_line, 100)
    for line in lines:
        line.shift_by(mean=sd, p95=sd)
    events = _rounds(fleet, lines, 10, random.Random(1))
    assert [(event.kind, event.subject) for event in events] == [(EventKind.SHARED_ALARM_RAISED, FLEET)]
    assert events[0].cause is Cause.COVARIATE_SHIFT and "light: " in events[0].sentence
    for line in lines:
        line.shift[:] = 0.0
    ended = _rounds(fleet, lines, 60)
    assert [event.kind for event in ended if event.subject == FLEET] == [EventKind.SHARED_ALARM_CLEARED]
    assert not fleet.shared_alarms() and all(fleet.status(line.station).phase is StationPhase.QUIET for line in lines)


def test_a_cause_that_one_site_shares_is_an_alarm_of_that_site(new_line) -> None:
    site = [f"s{number:03d}" for number in range(10)]
    fleet, lines = _enrolled(new_line, 40, {"hall-a": site})
    for line in lines[:10]:
        line.shift_by(sharpness=-4.0)
    events = _rounds(fleet, lines, 6)
    assert [(event.kind, event.subject) for event in events] == [(EventKind.SHARED_ALARM_RAISED, "hall-a")]
    assert fleet.status("s003").shared_by == ("hall-a",) and fleet.status("s030").shared_by == ()


def test_a_lone_station_is_not_kept_waiting_for_its_cohort(new_line) -> None:
    fleet, lines = _enrolled(new_line, 30)
    lines[7].shift_by(grain=-5.0)
    events = _rounds(fleet, lines, 3)
    assert [(event.kind, event.subject) for event in events] == [(EventKind.ALARM_RAISED, "s007")]


def test_stations_alarmed_before_become_part_of_the_alarm_they_share(new_line) -> None:
    fleet, lines = _enrolled(new_line, 12)
    lines[0].shift_by(mean=5.0)
    assert [event.subject for event in _rounds(fleet, lines, 4)] == ["s000"]
    for line in lines[1:]:
        line.shift_by(mean=5.0)
    events = _rounds(fleet, lines, 5)
    assert [(event.kind, event.subject) for event in events] == [
        (EventKind.SHARED_ALARM_RAISED, FLEET),
        (EventKind.ALARM_CLEARED, "s000"),
    ]
    assert events[1].sentence == "part of the alarm of fleet"
    # The lamp of all others is mended; this one still drifts, and has an alarm of its own again.
    for line in lines[1:]:
        line.shift[:] = 0.0
    later = _rounds(fleet, lines, 40)
    assert (EventKind.SHARED_ALARM_CLEARED, FLEET) in [(event.kind, event.subject) for event in later]
    assert [event.subject for event in later if event.kind is EventKind.ALARM_RAISED] == ["s000"]
    assert fleet.status("s000").phase is StationPhase.ALARMED


def test_an_alarm_that_waits_for_its_last_quiet_windows_is_ended_after_a_restart_too(new_line) -> None:
    fleet, lines = _enrolled(new_line, 4)
    lines[0].shift_by(mean=5.0)
    _rounds(fleet, lines, 8)
    lines[0].shift[:] = 0.0
    assert _rounds(fleet, lines, POLICY.clear_windows - 4) == []
    again = FleetDrift(POLICY)
    for name in fleet.stations():
        again.restore_station(fleet.snapshot_station(name))
    again.resume(["s000", "one that is gone"])
    events = _rounds(again, lines, 20)
    assert [(event.kind, event.subject) for event in events] == [(EventKind.ALARM_CLEARED, "s000")]


def test_a_broken_camera_under_a_shared_alarm_still_has_its_own(new_line) -> None:
    fleet, lines = _enrolled(new_line, 8)
    for line in lines:
        line.shift_by(mean=5.0)
    _rounds(fleet, lines, 4)
    lines[2].frozen = True
    events = _rounds(fleet, lines, 3)
    assert [(event.kind, event.subject) for event in events] == [(EventKind.ALARM_RAISED, "s002")]
    assert events[0].cause is Cause.FROZEN


@pytest.mark.long
def test_60_simulated_stations_are_flagged_when_they_drift_and_never_before() -> None:
    outcome = watch_fleet(Plant(stations=60, watch_days=3, drifting=0.1, seed=11), hourly_policy(7))
    assert outcome.false_flags == () and outcome.shared_flags == ()
    assert len(outcome.delays_h) == 6 and {drift.upset for drift, _ in outcome.delays_h} == set(UPSETS)
    assert all(delay is not None and delay <= 14.0 for _, delay in outcome.delays_h)
    assert outcome.median_delay_h("exposure step") <= 4.0


def test_a_simulated_plant_is_the_same_each_time_and_another_with_another_seed() -> None:
    plant = Plant(stations=4, enrol_days=1, watch_days=2, drifting=0.5, seed=3)
    first, again = list(windows(plant)), list(windows(plant))
    assert first == again and len(first) == 4 * 72
    other = Plant(stations=4, enrol_days=1, watch_days=2, drifting=0.5, seed=4)
    assert next(iter(windows(other))) != first[0] and drifts(other) != drifts(plant)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_quiet_month_of_500_stations_raises_no_more_than_promised() -> None:
    outcome = watch_fleet(Plant(stations=500, watch_days=30, drifting=0.0, seed=21), hourly_policy(7))
    assert outcome.station_days == 15_000
    assert outcome.shared_flags == () and outcome.flags_per_1000 <= 1.0


def test_simulate_prints_rates_with_their_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["drift", "simulate", "--stations", "6", "--enrol-days", "2", "--days", "1", "--drifting", "0.5"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "per 1,000 station-days" in text and "median delay" in text
    assert main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["drifts"] == 3 and figures["flags_per_1000_low"] <= figures["flags_per_1000"]
    assert figures["flags_per_1000"] <= figures["flags_per_1000_high"]
    assert main(["drift", "simulate", "--stations", "0"]) == 1
    assert "at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--seed", "-1"), ("--frames", "1000000000000")])
def test_what_no_plant_can_be_is_an_error(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    assert main(["drift", "simulate", "--stations", "2", option, value]) == 1
    assert f"{option} {value} is" in capsys.readouterr().err


def test_a_plant_that_drifts_from_its_first_hour_on_has_no_rate_of_false_flags(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["drift", "simulate", "--stations", "2", "--days", "1", "--enrol-days", "1", "--drifting", "1"]
    assert main(words) == 0
    assert "false flags: none could be raised" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["station_days"] == 0.0 and "flags_per_1000" not in figures


def test_the_interval_of_no_false_flag_is_that_of_garwood() -> None:
    outcome = watch_fleet(Plant(stations=2, enrol_days=1, watch_days=1, drifting=0.0), hourly_policy(1))
    assert figures_of(outcome)["flags_per_1000_high"] == pytest.approx(3.689 / 0.002, rel=1e-3)


def test_a_station_that_drifts_otherwise_than_its_cohort_has_an_alarm_of_its_own(new_line) -> None:
    fleet, lines = _enrolled(new_line, 12)
    for line in lines[:11]:
        line.shift_by(mean=5.0, p95=5.0)
    assert [event.kind for event in _rounds(fleet, lines, 5)] == [EventKind.SHARED_ALARM_RAISED]
    lines[11].shift_by(sharpness=-6.0, grain=-6.0)
    events = _rounds(fleet, lines, 6)
    assert [(event.kind, event.subject) for event in events] == [(EventKind.ALARM_RAISED, "s011")]
    assert events[0].sentence.startswith("lens: ")


def test_what_most_share_is_told_and_never_the_broken_camera_of_one(new_line) -> None:
    fleet, lines = _enrolled(new_line, 8)
    lines[0].shift_by(sharpness=-40.0, grain=-40.0)
    for line in lines[1:]:
        line.shift_by(mean=2.0, p95=2.0)
    lines[1].frozen = True
    events = [event for event in _rounds(fleet, lines, 8) if event.kind is EventKind.SHARED_ALARM_RAISED]
    assert len(events) == 1 and events[0].cause is Cause.COVARIATE_SHIFT and "light: " in events[0].sentence


def test_cohorts_that_change_over_a_restart_lose_no_alarm_and_leave_none_open(new_line) -> None:
    fleet, lines = _enrolled(new_line, 12, {"hall": [f"s{number:03d}" for number in range(5)]})
    for line in lines[:5]:
        line.shift_by(mean=5.0)
    assert [event.subject for event in _rounds(fleet, lines, 5)] == ["hall"]
    again = FleetDrift(POLICY)
    for name in fleet.stations():
        again.restore_station(fleet.snapshot_station(name))
    events = again.resume(["hall", "nobody-knows-this-one"])
    assert (EventKind.SHARED_ALARM_CLEARED, "hall") in [(event.kind, event.subject) for event in events]
    # There is no hall any more: those who still drift are told one by one, or as a fleet.
    told = {event.subject for event in _rounds(again, lines, 4) if event.kind in RAISED}
    assert told == {f"s{number:03d}" for number in range(5)} or FLEET in told
