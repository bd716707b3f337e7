from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.update.backoff import CAP_S, full_jitter_s
from agent.update.floors import (
    BUILT_AT,
    MAX_AHEAD_S,
    Floors,
    RepositoryVersions,
    effective_now,
    name_keys,
    raise_order,
    raise_repository,
    raise_root,
    raise_time,
)
from agent.update.sealed import seal, unseal
from agent.update.slot_state import MAX_RESETS, Ending, SlotState, TrialRecord, begun_again, with_ban
from agent.update.trust import MAX_SEQ_STEP, Acceptance, judge_order
from contract.errors import BadBundle, BadOrder
from contract.messages import Order, Probation

NOW = BUILT_AT + 1000.0
ORDER = Order("cam1", "ab" * 32, 99, "roll-1", 5, 0, NOW - 10, NOW + 10, Probation(10, 0.9))


def judge(order: Order = ORDER, **more: object) -> Acceptance:
    facts: dict = {"station": "cam1", "now": NOW, "floors": Floors(desired_seq=4), "banned": set(), "committed": None}
    return judge_order(order, **(facts | more))


def test_good_order_is_followed() -> None:
    assert judge() is Acceptance.FOLLOW


@pytest.mark.parametrize(
    ("change", "facts", "word"),
    [
        ({"station": "cam2"}, {}, "cam2"),
        ({"bundle": "../etc"}, {}, "digest"),
        ({"size_bytes": 0}, {}, "0 bytes"),
        ({"size_bytes": 1 << 60}, {}, "bytes"),
        ({"desired_seq": 4}, {}, "not newer"),
        ({}, {"floors": Floors(release_counter=1)}, "release counter"),
        ({}, {"banned": {("ab" * 32, "roll-1")}}, "already failed"),
        ({}, {"now": NOW + 11}, "expired"),
        ({}, {"now": 0.0, "floors": Floors(time=NOW + 11)}, "expired"),
    ],
)
def test_each_fault_alone_is_a_bad_order(change: dict, facts: dict, word: str) -> None:
    with pytest.raises(BadOrder, match=word):
        judge(msgspec.structs.replace(ORDER, **change), **facts)


def test_committed_order_delivered_again_is_repeated_even_expired_and_below_the_floor() -> None:
    assert judge(committed=ORDER, now=NOW + 1e9, floors=Floors(desired_seq=5)) is Acceptance.REPEATED


def test_same_number_with_other_content_is_no_redelivery() -> None:
    with pytest.raises(BadOrder):
        judge(msgspec.structs.replace(ORDER, bundle="cd" * 32), committed=ORDER, floors=Floors(desired_seq=5))


@given(st.lists(st.builds(lambda seq, at: msgspec.structs.replace(ORDER, desired_seq=seq, issued_at=at),
                          st.integers(1, 99), st.floats(0, 4e9))))  # fmt: skip
def test_order_floors_only_rise(orders: list[Order]) -> None:
    floors = Floors()
    for order in orders:
        raised = raise_order(floors, order)
        assert raised.desired_seq >= max(floors.desired_seq, order.desired_seq) and raised.time == floors.time
        floors = raise_time(raised, order.issued_at, 2e9, 4e9)
        assert floors.time >= raised.time and effective_now(floors, 0.0) >= min(order.issued_at, 2e9)


def test_no_single_side_moves_the_time_floor_beyond_what_the_other_says() -> None:
    assert raise_time(Floors(), 2.5e11, 1.9e9, 4e9).time == 1.9e9, "an order key in other hands"
    assert raise_time(Floors(), 1.8e9, 2.5e11, 4e9).time == 1.8e9, "an image key in other hands"
    assert raise_time(Floors(), 2.5e11, 0.0, 4e9).time == Floors().time


def test_both_sides_together_move_the_time_floor_a_little_beyond_the_stations_clock_and_no_further() -> None:
    assert raise_time(Floors(), 2.5e11, 2.5e11, NOW).time == NOW + MAX_AHEAD_S
    ahead = Floors(time=NOW + 9e7)
    assert raise_time(ahead, 2.5e11, 2.5e11, NOW).time == ahead.time
    # A clock that is wrong for sure is not asked: an order at a time the floor gets on all the same.
    assert raise_time(Floors(), 2.5e11, 2.5e11, 0.0).time == BUILT_AT + MAX_AHEAD_S
    assert raise_time(ahead, 2.5e11, 2.5e11, 0.0).time == ahead.time + MAX_AHEAD_S


@given(st.floats(0, 3e11), st.floats(0, 3e11), st.floats(0, 3e11), st.floats(0, 3e11))
def test_the_time_floor_never_falls_and_is_never_later_than_anybody_said(
    floor: float, issued: float, expires: float, now: float
) -> None:
    raised = raise_time(Floors(time=floor), issued, expires, now).time
    assert floor <= raised <= max(floor, min(issued, expires, max(now, floor) + MAX_AHEAD_S))


def test_the_time_floor_starts_anew_when_a_root_revokes_the_timestamps_key_and_only_then() -> None:
    def seen(root: int, timestamp: str, snapshot: str) -> RepositoryVersions:
        keys = f"{name_keys('snapshot', 1, [snapshot])} {name_keys('timestamp', 1, [timestamp])}"
        return RepositoryVersions(root, 9, 9, 9, keys)

    floors = msgspec.structs.replace(raise_repository(Floors(), seen(1, "t1", "s1")), time=2.5e11)
    assert raise_repository(floors, seen(2, "t1", "s2")).time == 2.5e11
    assert raise_repository(floors, seen(2, "t2", "s1")).time == BUILT_AT
    assert raise_root(floors, 2, seen(2, "t2", "s1").online_keys).time == BUILT_AT
    assert raise_root(floors, 2, seen(2, "t1", "s1").online_keys).time == 2.5e11
    assert raise_root(floors, 1, seen(1, "t2", "s1").online_keys) == floors, "no newer root said so"
    assert raise_repository(Floors(time=2.5e11), seen(1, "t1", "s1")).time == 2.5e11, "nobody's keys were revoked"


def test_an_order_far_ahead_is_refused_and_one_to_run_nothing_raises_no_release_counter() -> None:
    with pytest.raises(BadOrder, match="ahead"):
        judge(msgspec.structs.replace(ORDER, desired_seq=5 + MAX_SEQ_STEP + 1), floors=Floors(desired_seq=5))
    stop = msgspec.structs.replace(ORDER, bundle="", size_bytes=0, release_counter=1 << 40)
    assert judge(stop, floors=Floors()) is Acceptance.FOLLOW
    assert raise_order(Floors(release_counter=2), stop).release_counter == 2


def test_repository_that_goes_backwards_is_refused() -> None:
    floors = raise_repository(Floors(), RepositoryVersions(1, 7, 7, 3, "k"))
    for older in (
        RepositoryVersions(1, 6, 7, 3, "k"),
        RepositoryVersions(1, 7, 7, 2, "k"),
        RepositoryVersions(0, 9, 9, 9, "k"),
    ):
        with pytest.raises(BadBundle, match="backwards"):
            raise_repository(floors, older)


def test_versions_start_anew_only_under_new_online_keys_of_a_root_that_is_no_older() -> None:
    floors = raise_repository(Floors(), RepositoryVersions(1, 2**31, 2**31, 3, "stolen"))
    assert raise_repository(floors, RepositoryVersions(2, 1, 1, 1, "new")).timestamp == 1
    with pytest.raises(BadBundle):
        raise_repository(floors, RepositoryVersions(0, 1, 1, 1, "new"))


states = st.builds(
    SlotState,
    trial=st.none() | st.builds(TrialRecord, order=st.just(ORDER), tries=st.integers(0, 9)),
    banned=st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple),
    last=st.none() | st.builds(Ending, order=st.just(ORDER), kept=st.booleans(), reason=st.text()),
)


@given(states)
def test_sealed_state_comes_back(state: SlotState) -> None:
    assert unseal(seal(state), SlotState) == state


@given(states, st.data())
def test_torn_or_changed_state_reads_as_absent(state: SlotState, data: st.DataObject) -> None:
    sealed = seal(state)
    assert unseal(sealed[: data.draw(st.integers(0, len(sealed) - 1))], SlotState) is None
    changed = bytearray(sealed)
    changed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    assert unseal(bytes(changed), SlotState) is None


@given(st.binary(max_size=200))
def test_arbitrary_bytes_read_as_absent(data: bytes) -> None:
    assert unseal(data, SlotState) is None


def test_bans_are_bounded_and_keep_the_latest() -> None:
    state = SlotState()
    for n in range(200):
        state = with_ban(state, ORDER.bundle, str(n))
    assert len(state.banned) == 64 and state.banned[-1] == (ORDER.bundle, "199")


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_waits_never_spin_and_never_pass_the_cap(attempt: int, roll: float) -> None:
    assert 0.1 <= full_jitter_s(attempt, roll) <= CAP_S


def test_lost_power_is_no_try_of_a_trial_until_there_was_too_much_of_it() -> None:
    trial = begun_again(None, ORDER, "boot-0")
    for n in range(1, MAX_RESETS + 1):
        trial = begun_again(trial, ORDER, f"boot-{n}")
    assert (trial.tries, trial.resets) == (1, MAX_RESETS)
    assert begun_again(trial, ORDER, "boot-99").tries == 2, "it may be the bundle that resets the machine"
    assert begun_again(trial, ORDER, f"boot-{MAX_RESETS}").tries == 2, "the process alone died"
    other = msgspec.structs.replace(ORDER, deployment="another")
    assert begun_again(trial, other, "boot-1") == TrialRecord(other, 1, "boot-1")
