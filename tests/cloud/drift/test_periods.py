"""Windows joined into the periods that are judged, baselines that settle, and clocks that jump."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.drift.baseline import fit_inputs
from cloud.drift.causes import Cause
from cloud.drift.detectors.season import fit_season
from cloud.drift.fleet import FleetDrift
from cloud.drift.fleet_status import EventKind, StationPhase
from cloud.drift.observation import WindowRecord, join, observation, unpack
from cloud.drift.policy import DriftPolicy
from cloud.drift.simulate import Plant, windows
from cloud.drift.simulated_watch import hourly_policy, watch_fleet
from cloud.drift.vectors import from_bytes
from contract.sketches.window import merge

HOURLY = DriftPolicy(period_s=600.0, enrol_windows=12, settle_windows=12)


def _tell(fleet: FleetDrift, records: list[WindowRecord]) -> list[EventKind]:
    return [event.kind for record in records for event in fleet.observe(record)]


@given(st.integers(0, 1 << 32), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_two_windows_joined_say_what_their_merged_sketch_says(new_line, seed, frames, more) -> None:
    line = new_line(seed=seed, frames=frames)
    first = line.record()
    line.frames = more
    second = line.record()
    whole = observation(_merged(first, second))
    joined = join(observation(first), observation(second))
    assert (joined.frames, joined.labels, joined.confidences) == (whole.frames, whole.labels, whole.confidences)
    for name in ("means", "sds", "covariance", "projection", "projection_variances", "fourier"):
        assert np.allclose(unpack(getattr(joined, name)), unpack(getattr(whole, name)), atol=1e-4), name
    assert joined.confidence == pytest.approx(whole.confidence, abs=1e-6)
    assert (joined.started_at, joined.ended_at) == (first.started_at, second.ended_at)


def _merged(first: WindowRecord, second: WindowRecord) -> WindowRecord:
    return WindowRecord(
        second.station, second.boot, second.seq, first.started_at, second.ended_at, merge(first.window, second.window)
    )


def test_windows_of_a_period_are_judged_as_one_when_the_next_begins(new_line) -> None:
    fleet, line = FleetDrift(HOURLY), new_line(seed=1)
    line.at = 0.0
    # Windows begin at 60, 120, ...: the first period holds nine, all others ten.
    assert _tell(fleet, line.records(9 + 10 * 11)) == []
    assert fleet.status("s1").enrolled == 11
    assert _tell(fleet, line.records(1)) == [EventKind.ENROLLED]
    _tell(fleet, line.records(100))
    assert fleet.status("s1").judged == 10


def test_small_windows_count_once_they_are_joined(new_line) -> None:
    fleet, line = FleetDrift(HOURLY), new_line(seed=2, frames=3)
    assert EventKind.ENROLLED in _tell(fleet, line.records(150))
    assert fleet.status("s1").left_out == 0


def test_a_broken_camera_is_not_waited_for_until_the_period_ends(new_line) -> None:
    fleet, line = FleetDrift(HOURLY), new_line(seed=3)
    line.at = 0.0
    _tell(fleet, line.records(9))
    line.frozen = True
    assert _tell(fleet, line.records(2)) == [EventKind.ALARM_RAISED]
    assert fleet.status("s1").cause is Cause.FROZEN


@pytest.mark.slow
@given(st.integers(0, 1 << 32))
@settings(max_examples=1, deadline=None)
def test_joined_periods_too_are_the_same_in_any_order_and_after_any_restart(new_line, seed) -> None:
    policy = msgspec.structs.replace(HOURLY, reorder_windows=400)
    line = new_line(seed=4)
    records = line.records(150)
    line.artefact = "b" * 64
    records += line.records(15)
    line.shift_by(mean=3.0)
    records += line.records(60)
    straight, mixed = FleetDrift(policy), FleetDrift(policy)
    _tell(straight, records)
    shuffled = records + records[:30]
    rng = random.Random(seed)
    rng.shuffle(shuffled)
    for record in shuffled:
        mixed.observe(record)
        if rng.random() < 0.02:
            payload, mixed = mixed.snapshot(), FleetDrift(policy)
            mixed.restore(payload)
    assert mixed.snapshot() == straight.snapshot()
    assert straight.status("s1").phase is StationPhase.ALARMED and mixed.status("s1") == straight.status("s1")


def test_a_baseline_is_learnt_anew_while_quiet_until_it_has_settled(new_line) -> None:
    fleet, line = FleetDrift(DriftPolicy(enrol_windows=12, settle_windows=60)), new_line(seed=5)
    seen = []
    for record in line.records(80):
        fleet.observe(record)
        status = fleet.status("s1")
        if not seen or seen[-1] != (status.enrolled, status.settled):
            seen.append((status.enrolled, status.settled))
    assert seen[-4:] == [(12, False), (24, False), (48, False), (60, True)]


def test_a_growing_baseline_does_not_learn_the_drift_it_should_find(new_line) -> None:
    fleet, line = FleetDrift(DriftPolicy(enrol_windows=12, settle_windows=400)), new_line(seed=6)
    _tell(fleet, line.records(30))
    line.shift_by(mean=3.0)
    assert _tell(fleet, line.records(100)) == [EventKind.ALARM_RAISED]
    assert fleet.status("s1").phase is StationPhase.ALARMED and fleet.status("s1").enrolled == 12


def test_a_clock_that_jumps_twice_is_a_fault_and_once_is_none(new_line) -> None:
    fleet, line = FleetDrift(DriftPolicy()), new_line(seed=7)
    line.monotonic_s = 1000.0
    _tell(fleet, line.records(30))
    line.at += 7_200.0
    assert _tell(fleet, line.records(5)) == []
    line.at -= 10_800.0
    assert _tell(fleet, line.records(1)) == [EventKind.ALARM_RAISED]
    status = fleet.status("s1")
    assert status.cause is Cause.CLOCK and status.sentence.startswith(
        "clock: jumped 2 times in 6 windows, last by -3.0 h"
    )
    assert _tell(fleet, line.records(30)) == [EventKind.ALARM_CLEARED]


def test_a_clock_that_is_set_for_the_first_time_is_no_fault(new_line) -> None:
    fleet, line = FleetDrift(DriftPolicy()), new_line(seed=8)
    line.monotonic_s, line.synced, line.at = 10.0, False, 0.0
    for _ in range(4):
        _tell(fleet, line.records(3))
        line.at += 1e6
    line.synced = True
    _tell(fleet, line.records(3))
    # The machine was started anew: its seconds began again, and the time that passed is nobody's jump.
    line.monotonic_s, line.at = 5.0, line.at + 9e5
    _tell(fleet, line.records(20))
    assert fleet.status("s1").phase is not StationPhase.ALARMED


def test_a_baseline_learnt_from_something_else_says_that_it_is_doubtful(new_line) -> None:
    fleet, line = FleetDrift(DriftPolicy(settle_windows=24)), new_line(seed=9)
    _tell(fleet, line.records(12))
    line.shift_by(mean=6.0)
    events = [event for record in line.records(12) for event in fleet.observe(record)]
    assert [event.kind for event in events] == [EventKind.ENROLLED]
    assert "doubtful (mean moved while it was learnt)" in events[0].sentence
    assert "re-enrol" in fleet.status("s1").sentence and fleet.status("s1").doubts
    fleet.re_enrol("s1", "the lamp was changed half-way", line.at)
    _tell(fleet, line.records(24))
    assert fleet.status("s1").doubts == ()


def test_a_hand_before_the_lens_while_enrolling_is_left_out_of_the_baseline(new_line) -> None:
    fleet, line = FleetDrift(DriftPolicy(settle_windows=24)), new_line(seed=10)
    _tell(fleet, line.records(11))
    line.shift_by(mean=40.0, p95=40.0)
    _tell(fleet, line.records(1))
    line.shift[:] = 0.0
    _tell(fleet, line.records(12))
    assert fleet.status("s1").enrolled == 23 and fleet.status("s1").doubts == ()
    line.shift_by(mean=3.0)
    assert EventKind.ALARM_RAISED in _tell(fleet, line.records(6))


def test_a_station_that_cannot_enrol_says_why(new_line) -> None:
    fleet, line = FleetDrift(DriftPolicy()), new_line(seed=11, frames=1)
    for record in line.records(30):
        fleet.observe(record)
    sentence = fleet.status("s1").sentence
    assert sentence.startswith("enrolling: 0 of 24 windows") and "30 left out: under 8 frames" in sentence


def test_windows_of_an_older_station_are_judged_with_their_own_names(new_line) -> None:
    fleet, line = FleetDrift(DriftPolicy()), new_line(seed=12)
    line.features = 1
    _tell(fleet, line.records(30))
    line.shift_by(specks=5.0)
    _tell(fleet, line.records(6))
    assert fleet.status("s1").evidence[0].figure == "median"


def test_what_builds_up_slowly_is_not_learnt_before_it_is_found(new_line) -> None:
    # A change of the label mix that a dozen windows together show, and no one of them.
    fleet, line = FleetDrift(DriftPolicy(enrol_windows=24, settle_windows=48)), new_line(seed=4)
    _tell(fleet, line.records(44))
    line.label_shares = np.array([0.02, 0.74, 0.12, 0.12])
    assert _tell(fleet, line.records(40)) == [EventKind.ALARM_RAISED]
    assert fleet.status("s1").cause is Cause.LABEL_SHIFT and not fleet.status("s1").settled


def test_a_young_baseline_tells_what_is_gross_and_waits_with_the_rest(new_line) -> None:
    raised = []
    for settle in (24, 400):
        fleet, line = FleetDrift(DriftPolicy(enrol_windows=24, settle_windows=settle)), new_line(seed=8)
        _tell(fleet, line.records(24))
        line.shift_by(mean=0.55)
        subtle = EventKind.ALARM_RAISED in _tell(fleet, line.records(60))
        line.shift_by(mean=4.0)
        _tell(fleet, line.records(6))
        raised.append((subtle, fleet.status("s1").phase is StationPhase.ALARMED))
    assert raised == [(True, True), (False, True)]


def test_one_window_without_a_trusted_clock_costs_a_baseline_neither_its_memory_nor_its_season() -> None:
    plant = Plant(stations=1, watch_days=0, drifting=0.0, memory=(0.9, 0.9), seed=4)
    seen = [window for _, window in windows(plant)]
    seen[3] = msgspec.structs.replace(seen[3], clock_synced=False)
    baseline = fit_inputs(seen)
    assert baseline.levels.season.coefficients and baseline.levels.period_s == 3600.0 and baseline.left_out == 1
    lost = fit_inputs([msgspec.structs.replace(each, clock_synced=False) for each in seen])
    # Without any clock there is no season; what an hour foretells of the next is still known.
    assert not lost.levels.season.coefficients and lost.levels.period_s == 3600.0
    assert from_bytes(lost.levels.phi)[0] > 0.6


def test_at_hours_that_were_never_enrolled_the_season_is_not_guessed() -> None:
    hours = np.array([day * 24 + hour for day in range(7) for hour in range(6, 16)]) * 3600.0
    values = (10.0 + np.sin(2 * np.pi * hours / 86_400.0))[:, None]
    season = fit_season(hours, values + np.random.Generator(np.random.PCG64(1)).normal(0, 0.05, values.shape))
    assert season.knows(10 * 3600.0) and season.knows(16 * 3600.0) and not season.knows(20 * 3600.0)


@pytest.mark.parametrize("frames", [30, 300])
def test_a_scene_that_sways_from_window_to_window_is_no_drift_however_many_frames_it_has(frames) -> None:
    outcome = watch_fleet(
        Plant(stations=8, watch_days=3, frames=frames, drifting=0.0, scene_sd=(0.1, 0.2), mix_sd=(0.0, 0.0), seed=6),
        hourly_policy(7),
    )
    assert outcome.false_flags == () and outcome.shared_flags == ()
