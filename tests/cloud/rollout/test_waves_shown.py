"""How the waves of a rollout are counted for people: nobody is counted twice, and nobody is left out."""

from __future__ import annotations

from dataclasses import astuple

from hypothesis import given
from hypothesis import strategies as st

from cloud.rollout.evidence import RolloutEvidence, WaveEvidence
from cloud.rollout.plan import RolloutPlan
from cloud.rollout.rollout_states import MemberState
from cloud.rollout.waves_shown import Counted, WaveShown, waves_shown

ONE = RolloutPlan(waves=("canary", "everyone"))


def test_each_station_is_what_it_is_now_and_silent_as_it_was_judged() -> None:
    counted = [
        Counted(0, MemberState.COMMITTED, 1, 0),
        Counted(1, MemberState.ORDERED, 5, 2),
        Counted(1, MemberState.FAILED, 1, 1),
        Counted(1, MemberState.PLANNED, 3, 0),
    ]
    evidence = RolloutEvidence(waves=(WaveEvidence("canary"), WaveEvidence("everyone", silent=1)))
    canary, everyone = waves_shown(ONE, evidence, counted)
    assert canary == WaveShown(0, "canary", 1, committed=1) and canary.in_words() == "1 of 1 committed"
    assert everyone.in_words() == "0 of 9 committed, 1 failed, 1 silent, 2 under way, 2 offline, 3 planned"


def test_a_shadow_wave_is_counted_by_what_was_judged_and_its_stations_in_their_own_wave_too() -> None:
    plan = RolloutPlan(waves=("shadow", "canary"), shadow=("s1", "s2"), shadow_stations=2)
    counted = [Counted(1, MemberState.SHADOWING, 1, 0), Counted(1, MemberState.SHADOWED, 1, 0)]
    fresh, _ = waves_shown(plan, RolloutEvidence(), counted)
    assert fresh == WaveShown(0, "shadow", 2, planned=2)
    judged = RolloutEvidence(waves=(WaveEvidence("shadow", planned=2, ordered=2, committed=1),))
    shadow, canary = waves_shown(plan, judged, counted)
    assert shadow.in_words() == "1 of 2 committed, 1 under way" and canary.stations == 2


def test_a_rollout_of_an_older_version_has_waves_without_names() -> None:
    shown = waves_shown(RolloutPlan(), RolloutEvidence(), [Counted(1, MemberState.BACK, 2, 2)])
    assert [(wave.name, wave.stations, wave.back) for wave in shown] == [("wave 0", 0, 0), ("wave 1", 2, 2)]
    assert waves_shown(RolloutPlan(), RolloutEvidence(), []) == ()


_COUNTED = st.builds(
    lambda wave, state, stations, away: Counted(wave, state, stations, min(away, stations)),
    st.integers(0, 3),
    st.sampled_from(MemberState),
    st.integers(0, 50),
    st.integers(0, 50),
)


@given(st.lists(_COUNTED, max_size=12), st.integers(0, 60))
def test_the_parts_of_a_wave_are_the_whole(counted: list[Counted], silent: int) -> None:
    evidence = RolloutEvidence(waves=tuple(WaveEvidence(str(n), silent=silent) for n in range(4)))
    shown = waves_shown(RolloutPlan(), evidence, counted)
    assert sum(wave.stations for wave in shown) == sum(each.stations for each in counted)
    for wave in shown:
        parts = astuple(wave)[3:]
        assert sum(parts) == wave.stations and min(parts) >= 0


def test_who_was_ordered_back_is_not_said_to_be_back() -> None:
    counted = [Counted(0, MemberState.RECALLED, 2, 0), Counted(0, MemberState.BACK, 1, 0)]
    (wave,) = waves_shown(RolloutPlan(waves=("canary",)), RolloutEvidence(), counted)
    assert wave.in_words() == "0 of 3 committed, 2 ordered back, 1 back"
