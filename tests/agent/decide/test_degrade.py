"""The degrade ladder: what presses it, how fast it moves, and that it always comes back."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.degrade import Ladder, LadderRules, Pressure, Rung, next_rung
from agent.decide.heat import HeatRules, Zone, hottest, limit_c
from agent.decide.memory import MemoryRoom

ORIN = Zone("cpu-thermal", 60.0, throttle_c=99.0, critical_c=104.5)
RULES = LadderRules(climb_after_s=10.0, relief_s=60.0)
CALM = Pressure(ORIN)
HOT = Pressure(replace(ORIN, temp_c=97.0))
BACKLOG = Pressure(ORIN, dropped_share=0.12)
LOW_POWER = Pressure(ORIN, low_power="the battery is at 20%")


def after(seconds: int, pressure: Pressure, ladder: Ladder, start_s: float = 0.0) -> Ladder:
    """Return the ladder after a look a second."""
    for second in range(seconds + 1):
        ladder = next_rung(ladder, pressure, RULES, start_s + second)
    return ladder


@pytest.mark.parametrize(
    ("zone", "limit"),
    [
        (ORIN, 95.0),
        (Zone("cpu-thermal", 0.0, critical_c=110.0), 90.0),  # a Raspberry Pi
        (Zone("battery", 0.0, critical_c=70.0), 62.0),
        (Zone("tj", 0.0, throttle_c=99.0, critical_c=100.0), 92.0),
        (Zone("x86_pkg_temp", 0.0), 90.0),
    ],
)
def test_a_zone_is_hot_by_its_own_trip_points(zone: Zone, limit: float) -> None:
    assert limit_c(zone, HeatRules()) == limit


def test_a_limit_that_a_person_sets_holds_for_every_zone_but_never_up_to_where_it_switches_off() -> None:
    rules = HeatRules(hot_c=80.0)
    assert [limit_c(zone, rules) for zone in (ORIN, Zone("a", 0.0), Zone("b", 0.0, critical_c=70.0))] == [
        80.0,
        80.0,
        62.0,
    ]


def test_the_zone_that_counts_is_the_one_nearest_to_its_own_limit() -> None:
    battery = Zone("battery", 60.0, critical_c=65.0)
    assert hottest([replace(ORIN, temp_c=80.0), battery], HeatRules()) is battery
    assert hottest([], HeatRules()) is None


def test_a_zone_without_trip_points_is_as_hot_as_the_machines_others_may_be() -> None:
    junction = Zone("tj-thermal", 93.0)
    found = hottest([replace(ORIN, temp_c=92.0), junction], HeatRules())
    assert found is not None
    assert (found.name, limit_c(found, HeatRules())) == ("tj-thermal", 95.0)


def test_under_lasting_heat_one_thing_after_the_other_is_given_up_least_harm_first() -> None:
    ladder, seen = Ladder(), []
    for second in range(200):
        ladder = next_rung(ladder, HOT, RULES, float(second))
        seen.append((ladder.rung.says, ladder.rung.judge_one_in))
    assert [step for step, _ in itertools.groupby(seen)] == [
        ("", 1),
        ("no second opinion", 1),
        ("no shadow", 1),
        ("smaller artefact", 1),
        ("only one frame in 2 is judged", 2),
        ("only one frame in 4 is judged", 4),
        ("only one frame in 8 is judged", 8),
    ]
    assert all(len(list(run)) >= 10 for _, run in itertools.groupby(seen))


@pytest.mark.parametrize(
    ("pressure", "why"),
    [
        (HOT, "heat: 97.0 C of 95 C"),
        (Pressure(None, throttled=True), "heat: the machine slows itself down"),
        (LOW_POWER, "low power: the battery is at 20%"),
        (BACKLOG, "backlog: 12% of the frames dropped"),
        (replace(HOT, dropped_share=0.5), "heat: 97.0 C of 95 C; backlog: 50% of the frames dropped"),
    ],
)
def test_every_step_says_why_in_a_sentence(pressure: Pressure, why: str) -> None:
    ladder = after(20, pressure, Ladder())
    assert ladder.note == f"degraded: no shadow ({why})"
    assert after(600, CALM, ladder, 20).note == ""


def test_backlog_climbs_no_further_than_helps_and_low_power_does() -> None:
    # Skipping would only turn frames dropped by chance into frames dropped by rule.
    assert after(10_000, BACKLOG, Ladder()).rung is Rung.SMALLER_ARTEFACT
    assert after(10_000, LOW_POWER, Ladder()).rung is Rung.SKIP_8


def test_backlog_alone_does_not_keep_what_heat_brought() -> None:
    skipping = after(1000, HOT, Ladder())
    assert after(10_000, BACKLOG, skipping, 1000).rung is Rung.SMALLER_ARTEFACT


def test_a_moments_pressure_moves_nothing() -> None:
    ladder = Ladder()
    for second in range(1000):
        ladder = next_rung(ladder, HOT if second % 10 else CALM, RULES, float(second))
        assert ladder.rung is Rung.FULL


def test_a_temperature_that_swings_about_the_limit_does_not_make_it_flap() -> None:
    ladder, rungs = after(20, HOT, Ladder()), []
    for second in range(2000):
        # 91 to 97 C: over the limit for some seconds, and never down to where there is relief.
        zone = replace(ORIN, temp_c=94.0 + 3.0 * math.sin(second / 3))
        ladder = next_rung(ladder, Pressure(zone), RULES, 20.0 + second)
        rungs.append(ladder.rung)
    assert set(rungs) == {Rung.NO_SHADOW}


def test_one_hot_moment_begins_the_wait_for_relief_anew() -> None:
    ladder = after(10, HOT, Ladder())
    ladder = after(59, CALM, ladder, 11)
    ladder = next_rung(ladder, HOT, RULES, 71.0)
    assert after(59, CALM, ladder, 72).rung is Rung.NO_SECOND_OPINION
    assert after(60, CALM, ladder, 72).rung is Rung.FULL


def test_a_machine_without_sensors_never_degrades() -> None:
    assert after(1000, Pressure(), Ladder()) == Ladder(Rung.FULL, 0, 0.0, "")


def test_a_sensor_that_answers_nan_presses_nothing() -> None:
    nan = Pressure(Zone("z", math.nan, 99.0), dropped_share=math.nan)
    assert after(1000, nan, Ladder()).rung is Rung.FULL
    assert after(1000, nan, after(1000, HOT, Ladder()), 1000).rung is Rung.FULL


pressures = st.builds(
    Pressure,
    st.one_of(st.none(), st.floats(-40, 200).map(lambda c: replace(ORIN, temp_c=c))),
    st.booleans(),
    st.sampled_from(["", "under-voltage"]),
    st.floats(0, 1),
    st.one_of(st.none(), st.floats(0, 8000).map(lambda mib: MemoryRoom(8000.0, mib))),
)
# Mostly pressed for long enough to move.
waits = st.sampled_from([0.0, 1.0, 5.0, 10.0, 30.0, 60.0])
looks = st.lists(st.tuples(waits, pressures), max_size=60)
ladders = st.builds(
    Ladder,
    st.sampled_from(Rung),
    st.sampled_from([-1, 0, 1]),
    st.floats(allow_nan=True),
    st.just("heat: 97.0 C of 95 C"),
)


@given(ladders, st.lists(st.tuples(st.floats(allow_nan=True), pressures), max_size=60))
def test_whatever_the_clock_does_a_look_moves_at_most_one_rung_within_bounds(
    ladder: Ladder, looks: list[tuple[float, Pressure]]
) -> None:
    for now_s, pressure in looks:
        moved = next_rung(ladder, pressure, RULES, now_s)
        assert abs(moved.rung - ladder.rung) <= 1
        assert moved.rung in Rung
        assert bool(moved.note) is (moved.rung is not Rung.FULL)
        assert not moved.rung or moved.why
        ladder = moved


@given(looks)
def test_between_two_steps_lies_the_time_that_the_rules_ask_for(looks: list[tuple[float, Pressure]]) -> None:
    ladder, now_s, moved_at_s = Ladder(), 0.0, 0.0
    for wait_s, pressure in looks:
        now_s += wait_s
        moved = next_rung(ladder, pressure, RULES, now_s)
        if moved.rung != ladder.rung:
            assert now_s - moved_at_s >= (RULES.climb_after_s if moved.rung > ladder.rung else RULES.relief_s)
            moved_at_s = now_s
        ladder = moved


@given(
    ladders,
    pressures.map(lambda p: replace(p, zone=ORIN, throttled=False, low_power="", dropped_share=0.0, memory=None)),
)
def test_after_long_relief_it_is_back_at_full_wherever_it_stood(ladder: Ladder, calm: Pressure) -> None:
    assert after(int(RULES.relief_s) * len(Rung), calm, ladder).rung is Rung.FULL


def at_least(pressure: Pressure, more: Pressure) -> Pressure:
    """Return what presses at least as hard as `pressure`."""
    zones = [zone for zone in (pressure.zone, more.zone) if zone is not None]
    return Pressure(
        hottest(zones, RULES.heat),
        pressure.throttled or more.throttled,
        pressure.low_power or more.low_power,
        max(pressure.dropped_share, more.dropped_share),
        min(
            (room for room in (pressure.memory, more.memory) if room), key=lambda room: room.available_mib, default=None
        ),
    )


@given(st.lists(st.tuples(waits, pressures, pressures), max_size=60))
def test_a_station_under_more_pressure_all_along_never_gives_up_less(
    looks: list[tuple[float, Pressure, Pressure]],
) -> None:
    less, more, now_s = Ladder(), Ladder(), 0.0
    for wait_s, pressure, extra in looks:
        now_s += wait_s
        less = next_rung(less, pressure, RULES, now_s)
        more = next_rung(more, at_least(pressure, extra), RULES, now_s)
        assert more.rung >= less.rung


@given(looks, pressures, st.floats(0, 1e6))
def test_a_look_at_a_clock_that_stepped_back_moves_nothing_and_the_ladder_goes_on_from_there(
    looks: list[tuple[float, Pressure]], pressure: Pressure, back_s: float
) -> None:
    ladder, now_s = Ladder(), 1e7
    for wait_s, pressed in looks:
        now_s += wait_s
        ladder = next_rung(ladder, pressed, RULES, now_s)
    back = next_rung(ladder, pressure, RULES, now_s - back_s)
    assert back.rung is ladder.rung
    assert after(11, HOT, back, int(now_s - back_s)).rung >= min(Rung.SKIP_8, ladder.rung + 1)
    assert after(600, CALM, back, int(now_s - back_s)).rung is Rung.FULL
