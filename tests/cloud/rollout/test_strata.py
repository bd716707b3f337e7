"""Waves are pictures of the fleet: every stratum comes as early as its size allows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.rollout.cohort import can_shadow, in_turn, name_waves, order_stations, plan_waves

FLEET = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=4), st.sampled_from(["x", "y", "z", ""]), max_size=60)


@given(strata=FLEET)
def test_any_first_stations_are_spread_over_the_strata_in_proportion(strata: dict[str, str]) -> None:
    ordered = in_turn(list(strata), strata)
    assert sorted(ordered) == sorted(strata)
    sizes = {name: list(strata.values()).count(name) for name in set(strata.values())}
    for m in range(1, len(ordered) + 1):
        taken = [strata[s] for s in ordered[:m]]
        for name, size in sizes.items():
            assert taken.count(name) <= math.ceil(m * size / len(ordered)), "never more than its share rounded up"
        if m >= len(sizes):
            assert set(taken) == set(sizes), "all are there as soon as there is room"
        else:
            left_out = [sizes[name] for name in sizes if name not in taken]
            assert len(set(taken)) == m and max(left_out) <= min(sizes[name] for name in taken), "large ones first"


@given(strata=FLEET, data=st.data())
def test_the_order_is_a_permutation_that_no_chance_plays_a_part_in(strata: dict[str, str], data: st.DataObject) -> None:
    changed = set(data.draw(st.lists(st.sampled_from(sorted(strata)), unique=True))) if strata else set()
    ordered = order_stations(list(strata), changed, strata)
    assert sorted(ordered) == sorted(strata)
    assert ordered == order_stations(data.draw(st.permutations(list(strata))), changed, strata)
    flags = [s in changed for s in ordered]
    assert flags == sorted(flags), "those that are expected to change come last"


@given(
    strata=FLEET, canary=st.integers(1, 5), shares=st.lists(st.floats(0.01, 1.0), max_size=4).map(sorted),
)  # fmt: skip
def test_waves_are_nested_shares_and_everyone_is_in_one(
    strata: dict[str, str], canary: int, shares: list[float]
) -> None:
    waves = plan_waves(list(strata), (), shares, canary=canary, strata=strata)
    flat = [s for wave in waves for s in wave]
    assert flat == in_turn(list(strata), strata) and all(waves)
    if strata:
        assert len(waves[0]) == min(canary, len(strata))
    reached = {sum(map(len, waves[:n])) for n in range(len(waves) + 1)}
    for share in shares:
        assert max(min(canary, len(strata)), math.ceil(share * len(strata))) in reached


def test_waves_have_names_and_a_shadow_wave_comes_before_them() -> None:
    ordered = [f"s{n:02}" for n in range(40)]
    waves = name_waves(ordered, (0.05, 0.25), 1, ["s00", "s01"])
    assert waves.names == ("shadow", "canary", "5 %", "25 %", "everyone") and waves.shadow == ("s00", "s01")
    assert [len(each) for each in waves.stations] == [0, 1, 1, 8, 30]


@pytest.mark.parametrize(
    ("version", "able"),
    [
        ("0.2.0", True),
        ("0.10.1", True),
        ("1.0.0", True),
        ("0.2.0rc1", True),
        ("0.1.9", False),
        ("", False),
        ("dev", False),
    ],
)
def test_only_agents_that_know_of_shadow_orders_get_one(version: str, able: bool) -> None:
    assert can_shadow(version) is able
