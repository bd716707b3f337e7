"""Who gets a release when, and what a rollout does next."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.rollout.cohort import plan_waves
from cloud.rollout.judge import Member, RolloutPolicy, StepKind, next_step
from cloud.rollout.rollout_states import MemberState

NAMES = st.lists(st.text("abcdef", min_size=1, max_size=4), unique=True, max_size=30)
SHARES = st.lists(st.floats(0.01, 1.0), max_size=4).map(sorted)


@given(stations=NAMES, shares=SHARES, data=st.data())
def test_every_station_is_in_exactly_one_wave_and_the_first_is_one_canary(
    stations: list[str], shares: list[float], data: st.DataObject
) -> None:
    changed = set(data.draw(st.lists(st.sampled_from(stations), unique=True))) if stations else set()
    waves = plan_waves(stations, changed, shares)
    assert sorted(s for wave in waves for s in wave) == sorted(stations)
    assert all(waves) and (not stations or len(waves[0]) == 1)
    if set(stations) - changed:
        assert waves[0][0] not in changed
    flat = [s in changed for wave in waves for s in wave]
    assert flat == sorted(flat), "stations that are meant to change come last"
    for share in shares:
        reached = math.ceil(share * len(stations))
        assert any(sum(map(len, waves[:n])) == max(reached, 1) for n in range(1, len(waves) + 1)) or not stations


@given(stations=NAMES, shares=SHARES)
def test_the_plan_does_not_depend_on_the_order_of_the_stations(stations: list[str], shares: list[float]) -> None:
    assert plan_waves(stations, (), shares) == plan_waves(stations[::-1], (), shares)


def test_a_fleet_of_twenty_goes_one_then_five_then_all() -> None:
    waves = plan_waves([f"s{n:02}" for n in range(20)], ["s00"], (0.05, 0.25))
    assert [len(wave) for wave in waves] == [1, 4, 15]
    assert waves[0] == ["s01"] and waves[-1][-1] == "s00"


POLICY = RolloutPolicy(silence_s=900.0)
PLANNED, ORDERED, DONE, FAILED = MemberState.PLANNED, MemberState.ORDERED, MemberState.COMMITTED, MemberState.FAILED


def _member(station: str, wave: int, state: MemberState, **more: object) -> Member:
    ordered = None if state is PLANNED else 10.0
    return Member(station, wave, state, **{"ordered_s": ordered, "online": True, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("members", "wave", "kind", "why"),
    [
        ([_member("a", 0, ORDERED), _member("b", 1, PLANNED)], 0, StepKind.HOLD, "waiting for a"),
        ([_member("a", 0, PLANNED), _member("b", 1, PLANNED)], 0, StepKind.HOLD, "waiting for a"),
        ([_member("a", 0, DONE), _member("b", 1, PLANNED)], 0, StepKind.ADVANCE, "wave 0 is committed"),
        ([_member("a", 0, DONE), _member("b", 1, DONE)], 1, StepKind.FINISH, "every wave is committed"),
        ([_member("a", 0, DONE)], 0, StepKind.FINISH, "every wave is committed"),
        (
            [_member("a", 0, FAILED, reason="it crashed"), _member("b", 1, PLANNED)],
            0,
            StepKind.ROLL_BACK,
            "a: it crashed",
        ),
        ([_member("a", 0, FAILED)], 0, StepKind.ROLL_BACK, "a: rolled back"),
        (
            [_member("a", 0, DONE), _member("b", 1, FAILED), _member("c", 1, ORDERED)],
            1,
            StepKind.ROLL_BACK,
            "b: rolled back",
        ),
        (
            [_member("a", 0, MemberState.SKIPPED)],
            0,
            StepKind.ROLL_BACK,
            "nobody is left to show what it does: a taken out of it by hand",
        ),
        (
            [_member("a", 0, MemberState.SKIPPED), _member("b", 1, PLANNED)],
            0,
            StepKind.ROLL_BACK,
            "nobody is left to show what it does: a taken out of it by hand",
        ),
        (
            [_member("a", 0, DONE), _member("b", 1, MemberState.SKIPPED), _member("c", 2, PLANNED)],
            1,
            StepKind.ADVANCE,
            "wave 1 is committed",
        ),
        (
            [_member("a", 0, MemberState.SKIPPED), _member("b", 1, MemberState.SKIPPED)],
            1,
            StepKind.ROLL_BACK,
            "nobody is left to show what it does: b taken out of it by hand",
        ),
    ],
)
def test_the_next_step_and_why(members: list[Member], wave: int, kind: StepKind, why: str) -> None:
    step = next_step(members, wave, POLICY)
    assert (step.kind, step.why) == (kind, why)


def test_failures_up_to_the_policys_share_are_borne_and_in_a_small_fleet_that_is_none() -> None:
    well = [_member(f"a{n}", 0, DONE) for n in range(49)]
    one_more = [_member("x", 0, FAILED), _member("later", 1, PLANNED)]
    assert next_step([*well, *one_more], 0, POLICY).kind is StepKind.ADVANCE, "1 of 50 is the 2 % that may fail"
    assert next_step([*well[1:], *one_more], 0, POLICY).kind is StepKind.ROLL_BACK, "1 of 49 is more"
    assert next_step([*well, *one_more, _member("y", 0, FAILED)], 0, POLICY).kind is StepKind.ROLL_BACK


@pytest.mark.parametrize(
    ("case", "failed"),
    [
        ({"ordered_s": 899.0}, False),
        ({"ordered_s": 901.0}, True),
        # Reports of this order are no silence, however slow the update.
        ({"ordered_s": 5000.0, "said_s": 100.0}, False),
        ({"ordered_s": 5000.0, "said_s": 901.0}, True),
        # Offline at dispatch is waited for, for days; and has as long as the others once it is there.
        ({"ordered_s": 500_000.0, "online": False, "link_s": 600_000.0}, False),
        ({"ordered_s": 500_000.0, "online": True, "link_s": 5.0}, False),
        ({"ordered_s": 500_000.0, "online": True, "link_s": 901.0}, True),
        # Here at dispatch and gone since: for a while that is a restart, then it is what a bad bundle looks like.
        ({"ordered_s": 950.0, "online": False, "link_s": 800.0}, False),
        ({"ordered_s": 1900.0, "online": False, "link_s": 901.0}, True),
    ],
)
def test_silence_is_failure_and_offline_at_dispatch_is_not(case: dict[str, float], failed: bool) -> None:
    step = next_step([_member("a", 0, ORDERED, **case), _member("b", 1, PLANNED)], 0, POLICY)
    assert step.kind is (StepKind.ROLL_BACK if failed else StepKind.HOLD)
    assert not failed or "a: silent for" in step.why
