"""What a fleet's drift watch says, from the outside."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.drift.causes import Cause
from cloud.drift.fleet import FleetDrift
from cloud.drift.fleet_status import EventKind, StationPhase
from cloud.drift.observation import WindowRecord
from cloud.drift.policy import DriftPolicy
from contract.errors import BadMessage

POLICY = DriftPolicy()


def _tell(fleet: FleetDrift, records: list[WindowRecord]) -> list[EventKind]:
    return [event.kind for record in records for event in fleet.observe(record)]


def test_a_station_enrols_then_stays_quiet_then_alarms_on_a_step_and_on_no_other_station(new_line) -> None:
    fleet, lines = FleetDrift(POLICY), [new_line(f"s{number}", seed=number) for number in range(3)]
    for line in lines:
        assert _tell(fleet, line.records(23)) == []
        assert fleet.status(line.station).sentence == "enrolling: 23 of 24 windows"
        assert _tell(fleet, line.records(1)) == [EventKind.ENROLLED]
        assert _tell(fleet, line.records(200)) == []
    lines[1].shift_by(sharpness=-3.0)
    began = lines[1].at + 60.0
    events = [event for record in lines[1].records(5) for event in fleet.observe(record)]
    assert [(event.kind, event.subject) for event in events] == [(EventKind.ALARM_RAISED, "s1")]
    status = fleet.status("s1")
    assert status.phase is StationPhase.ALARMED and status.cause is Cause.COVARIATE_SHIFT
    assert status.since == began
    assert status.sentence.startswith("lens: sharpness -") and status.sentence.endswith("outputs unchanged")
    assert status.evidence[0].figure == "sharpness" and status.e_value > 1000
    assert fleet.status("s0").phase is fleet.status("s2").phase is StationPhase.QUIET


def test_a_shift_of_the_outputs_alone_is_called_a_label_shift(new_line) -> None:
    fleet, line = FleetDrift(POLICY), new_line(seed=4)
    _tell(fleet, line.records(40))
    line.label_shares, line.logit = [0.0, 0.1, 0.1, 0.8], 1.5
    assert _tell(fleet, line.records(8)) == [EventKind.ALARM_RAISED]
    status = fleet.status("s1")
    assert status.cause is Cause.LABEL_SHIFT and status.sentence.endswith("what is seen is unchanged")


def test_one_freak_window_raises_nothing(new_line) -> None:
    fleet, line = FleetDrift(POLICY), new_line(seed=5)
    _tell(fleet, line.records(60))
    line.shift_by(mean=40.0, spread=40.0, tilt=40.0)
    assert _tell(fleet, line.records(1)) == []
    line.shift[:] = 0.0
    assert _tell(fleet, line.records(60)) == []


def test_an_alarm_latches_and_clears_after_enough_quiet_windows(new_line) -> None:
    fleet, line = FleetDrift(POLICY), new_line(seed=6)
    _tell(fleet, line.records(30))
    line.shift_by(p95=4.0)
    assert _tell(fleet, line.records(40)) == [EventKind.ALARM_RAISED]
    line.shift[:] = 0.0
    assert _tell(fleet, line.records(POLICY.clear_windows - 1)) == []
    assert fleet.status("s1").phase is StationPhase.ALARMED
    assert _tell(fleet, line.records(15)) == [EventKind.ALARM_CLEARED]
    line.shift_by(p95=4.0)
    assert _tell(fleet, line.records(6)) == [EventKind.ALARM_RAISED]


def test_enrolling_again_ends_the_alarm_and_learns_the_new_normal(new_line) -> None:
    fleet, line = FleetDrift(POLICY), new_line(seed=7)
    _tell(fleet, line.records(30))
    line.shift_by(p95=4.0)
    _tell(fleet, line.records(10))
    events = fleet.re_enrol("s1", "lens cleaned", at=line.at)
    assert [event.kind for event in events] == [EventKind.ALARM_CLEARED] and "lens cleaned" in events[0].sentence
    assert fleet.status("s1").enrolled == 0
    assert _tell(fleet, line.records(124)) == [EventKind.ENROLLED]
    assert fleet.re_enrol("unknown", "x", at=0.0) == []


def test_a_new_model_enrols_only_the_outputs_anew(new_line) -> None:
    fleet, line = FleetDrift(POLICY), new_line(seed=8)
    _tell(fleet, line.records(30))
    line.artefact, line.logit, line.label_shares = "b" * 64, 1.0, [0.7, 0.1, 0.1, 0.1]
    assert _tell(fleet, line.records(5)) == []
    status = fleet.status("s1")
    assert status.phase is StationPhase.QUIET and not status.outputs_enrolled
    assert _tell(fleet, line.records(60)) == [] and fleet.status("s1").outputs_enrolled
    line.artefact = "c" * 64
    line.shift_by(mean=4.0)
    assert _tell(fleet, line.records(5)) == [EventKind.ALARM_RAISED]
    assert "outputs being enrolled" in fleet.status("s1").sentence


def test_a_device_that_enrolled_again_starts_a_new_baseline(new_line) -> None:
    fleet, line = FleetDrift(POLICY), new_line(seed=9)
    line.reference = ""
    _tell(fleet, line.records(5))
    assert fleet.status("s1").enrolled == 0 and fleet.status("s1").left_out == 5
    line.reference = "r" * 64
    assert _tell(fleet, line.records(24)) == [EventKind.ENROLLED]
    line.reference = "s" * 64
    line.shift_by(mean=9.0)
    assert _tell(fleet, line.records(60)) == [EventKind.ENROLLED]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"frozen": True}, Cause.FROZEN),
        ({"frames": 0}, Cause.MISSING),
        ({"dark": 10.5, "spread": -10.0}, Cause.BLACK),
        ({"saturated": 9.5}, Cause.SATURATED),
    ],
)
@pytest.mark.parametrize("enrolled", [0, 30])
def test_a_sensor_fault_is_named_even_before_enrolment_and_clears(new_line, change, cause, enrolled) -> None:
    fleet, line = FleetDrift(POLICY), new_line(seed=10)
    _tell(fleet, line.records(enrolled))
    line.frozen, line.frames = change.get("frozen", False), change.get("frames", 32)
    line.shift_by(**{name: sd for name, sd in change.items() if name not in ("frozen", "frames")})
    assert _tell(fleet, line.records(1)) == []
    assert _tell(fleet, line.records(3)) == [EventKind.ALARM_RAISED]
    assert fleet.status("s1").cause is cause
    assert fleet.status("s1").sentence.startswith("camera: ") and "4 windows" in fleet.status("s1").sentence
    line.frozen, line.frames, line.shift = False, 32, line.shift * 0
    assert EventKind.ALARM_CLEARED in _tell(fleet, line.records(25))


def test_windows_too_small_to_judge_are_left_out_and_counted(new_line) -> None:
    fleet, line = FleetDrift(POLICY), new_line(seed=11)
    _tell(fleet, line.records(30))
    line.frames = 7
    line.shift_by(mean=9.0)
    assert _tell(fleet, line.records(20)) == []
    assert fleet.status("s1").left_out == 20


@given(st.integers(0, 1 << 32))
@settings(max_examples=8, deadline=None)
def test_any_order_of_arrival_and_any_repeats_give_the_same_state(new_line, seed) -> None:
    policy = DriftPolicy(enrol_windows=12, reorder_windows=60)
    records = []
    for number in range(3):
        line = new_line(f"s{number}", seed=20 + number)
        records += line.records(14)
        line.boot, line.seq = "another", 0
        line.shift_by(mean=2.0 * number, tilt=-3.0 * number)
        records += line.records(9)
    straight = FleetDrift(policy)
    _tell(straight, records)
    shuffled = records + records[:20]
    random.Random(seed).shuffle(shuffled)
    mixed = FleetDrift(policy)
    _tell(mixed, shuffled)
    assert mixed.snapshot() == straight.snapshot()
    assert [mixed.status(name) for name in mixed.stations()] == [straight.status(name) for name in straight.stations()]
    assert straight.status("s2").phase is StationPhase.ALARMED


def test_a_window_later_than_the_reorder_horizon_is_counted_and_changes_nothing(new_line) -> None:
    fleet, line = FleetDrift(DriftPolicy(reorder_windows=4)), new_line(seed=12)
    first = line.record()
    _tell(fleet, line.records(10))
    before = fleet.status("s1")
    assert _tell(fleet, [first]) == []
    after = fleet.status("s1")
    assert after.late == 1 and after.enrolled == before.enrolled == 10


def test_a_station_whose_clock_fell_back_is_still_judged(new_line) -> None:
    fleet, line = FleetDrift(POLICY), new_line(seed=13)
    _tell(fleet, line.records(30))
    line.boot, line.seq, line.at, line.synced = "after-a-flat-battery", 0, 0.0, False
    line.shift_by(mean=5.0)
    assert _tell(fleet, line.records(50)) == [EventKind.ALARM_RAISED]
    assert fleet.status("s1").late == 0


def test_a_restart_at_any_window_changes_nothing(new_line) -> None:
    line = new_line(seed=14)
    records = line.records(70)
    line.shift_by(grain=-3.0)
    records += line.records(6)
    straight, restarted = FleetDrift(POLICY), FleetDrift(POLICY)
    expected = _tell(straight, records)
    found = []
    for index, record in enumerate(records):
        found += [event.kind for event in restarted.observe(record)]
        if index % 7 == 0:
            payload, restarted = restarted.snapshot(), FleetDrift(POLICY)
            restarted.restore(payload)
            assert restarted.snapshot() == payload
    assert found == expected == [EventKind.ENROLLED, EventKind.ALARM_RAISED]
    assert restarted.status("s1") == straight.status("s1")
    single = FleetDrift(POLICY)
    single.restore_station(straight.snapshot_station("s1"))
    assert single.resume(["s1"]) == []
    assert single.status("s1") == straight.status("s1")


def test_a_settled_station_stores_its_baseline_and_not_the_windows_behind_it(new_line) -> None:
    fleet, line = FleetDrift(DriftPolicy(reorder_windows=1, settle_windows=24)), new_line(seed=15)
    _tell(fleet, line.records(23))
    enrolling = len(fleet.snapshot_station("s1"))
    _tell(fleet, line.records(7))
    assert len(fleet.snapshot_station("s1")) < min(enrolling / 2, 12_000)


def test_state_that_is_none_of_ours_is_refused() -> None:
    for payload in (b"", b"\x00", b"\x93\x01\x02\x03", b"not msgpack at all"):
        with pytest.raises(BadMessage):
            FleetDrift(POLICY).restore(payload)
        with pytest.raises(BadMessage):
            FleetDrift(POLICY).restore_station(payload)


def test_a_cause_shared_by_most_stations_becomes_one_shared_alarm(new_line) -> None:
    fleet = FleetDrift(POLICY)
    lines = [new_line(f"s{number}", seed=40 + number) for number in range(6)]
    for line in lines:
        _tell(fleet, line.records(30))
        line.shift_by(mean=4.0)
    kinds = [kind for _ in range(8) for line in lines for kind in _tell(fleet, [line.record()])]
    assert kinds.count(EventKind.SHARED_ALARM_RAISED) == 1
    assert kinds.count(EventKind.ALARM_RAISED) < len(lines)
    assert fleet.shared_alarms() == ("fleet",) and fleet.status("s3").shared_by == ("fleet",)


@pytest.mark.parametrize("first", [20, 30, 100])
def test_a_station_whose_trusted_clock_fell_back_is_not_stuck_with_what_it_did_before(new_line, first) -> None:
    policy = DriftPolicy(settle_windows=24)
    fleet, line = FleetDrift(policy), new_line(seed=16)
    _tell(fleet, line.records(first))
    line.boot, line.seq, line.at = "a-clock-set-wrong", 0, 0.0
    _tell(fleet, line.records(100))
    assert fleet.status("s1").phase is StationPhase.QUIET
    line.shift_by(mean=5.0)
    assert EventKind.ALARM_RAISED in _tell(fleet, line.records(40))
    assert fleet.status("s1").phase is StationPhase.ALARMED


def test_a_drift_behind_a_broken_camera_is_told_when_the_camera_is_mended(new_line) -> None:
    fleet, line = FleetDrift(POLICY), new_line(seed=17)
    _tell(fleet, line.records(30))
    line.frozen = True
    events = [event for record in line.records(3) for event in fleet.observe(record)]
    assert [event.cause for event in events] == [Cause.FROZEN]
    line.frozen = False
    line.shift_by(sharpness=-5.0)
    told = [event for record in line.records(40) for event in fleet.observe(record)]
    assert [(event.kind, event.cause) for event in told] == [(EventKind.ALARM_RAISED, Cause.COVARIATE_SHIFT)]
    assert fleet.status("s1").sentence.startswith("lens: ")
    line.frozen = True
    told = [event for record in line.records(3) for event in fleet.observe(record)]
    assert [event.cause for event in told] == [Cause.FROZEN]
    line.frozen = False
    _tell(fleet, line.records(30))
    assert fleet.status("s1").cause is Cause.COVARIATE_SHIFT, "the drift stood behind it all the time"


def test_an_alarm_does_not_end_while_the_drift_lasts(new_line) -> None:
    for seed in range(2):
        fleet, line = FleetDrift(DriftPolicy(settle_windows=24)), new_line(seed=50 + seed)
        _tell(fleet, line.records(30))
        line.shift_by(mean=0.6)
        assert _tell(fleet, line.records(400)).count(EventKind.ALARM_CLEARED) == 0


def test_a_station_that_enrols_anew_says_so_when_its_alarm_ends(new_line) -> None:
    fleet, line = FleetDrift(POLICY), new_line(seed=18)
    _tell(fleet, line.records(30))
    line.shift_by(mean=5.0)
    _tell(fleet, line.records(6))
    line.reference = "t" * 64
    (event,) = fleet.observe(line.record())
    assert event.kind is EventKind.ALARM_CLEARED and event.sentence == "the station itself enrolled anew"


def test_one_black_window_days_after_another_fault_is_no_alarm(new_line) -> None:
    fleet, line = FleetDrift(DriftPolicy(period_s=600.0)), new_line(seed=19, frames=3)
    _tell(fleet, line.records(5))
    line.shift_by(dark=10.5, spread=-10.0)
    assert EventKind.ALARM_RAISED in _tell(fleet, line.records(3))
    line.shift[:] = 0.0
    assert EventKind.ALARM_CLEARED in _tell(fleet, line.records(400))
    line.shift_by(dark=10.5, spread=-10.0)
    assert _tell(fleet, line.records(1)) == []


def test_a_frozen_camera_on_a_slow_line_is_found_by_the_period(new_line) -> None:
    fleet, line = FleetDrift(DriftPolicy(period_s=600.0, enrol_windows=12)), new_line(seed=20, frames=3)
    _tell(fleet, line.records(200))
    line.loop = 1
    assert EventKind.ALARM_RAISED in _tell(fleet, line.records(45))
    assert fleet.status("s1").cause is Cause.FROZEN


def test_a_scene_that_is_nearly_black_or_white_is_no_broken_camera(new_line) -> None:
    # The station tells square roots of shares: .985 are 97 % of the pixels, not 98.5.
    fleet, line = FleetDrift(POLICY), new_line(seed=21)
    line.shift_by(dark=(0.985 - 0.5) / 0.05, spread=-10.0)
    _tell(fleet, line.records(4))
    assert fleet.status("s1").cause is Cause.NONE
    line.shift[:] = 0.0
    line.shift_by(saturated=(0.93 - 0.5) / 0.05)
    _tell(fleet, line.records(4))
    assert fleet.status("s1").cause is Cause.NONE
