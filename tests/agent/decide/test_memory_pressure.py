"""Little memory: how far it climbs the ladder, and when the models beside go, and come back."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.degrade import Ladder, LadderRules, Pressure, Rung, next_rung
from agent.decide.heat import Heat, HeatRules, Zone, slowed_by
from agent.decide.memory import GivenUp, MemoryRoom, MemoryRules, is_relieved, low_mib, next_given_up, why_low

RULES = LadderRules(climb_after_s=10.0, relief_s=60.0)
ORIN = MemoryRoom(7620.0, 4000.0)  # low is under 457 MiB


def after(seconds: int, room: MemoryRoom | None, ladder: Ladder, start_s: float = 0.0) -> Ladder:
    for second in range(seconds + 1):
        ladder = next_rung(ladder, Pressure(memory=room), RULES, start_s + second)
    return ladder


@pytest.mark.parametrize(
    ("total", "low"), [(256.0, 64.0), (512.0, 128.0), (4096.0, 245.76), (7620.0, 457.2), (64_000.0, 512.0)]
)
def test_low_is_a_share_of_all_within_bounds(total: float, low: float) -> None:
    assert low_mib(MemoryRoom(total, 0.0), MemoryRules()) == pytest.approx(low)


def test_little_memory_ends_at_the_smaller_artefact_and_says_so() -> None:
    ladder = after(600, replace(ORIN, available_mib=300.0), Ladder())
    assert ladder.rung is Rung.SMALLER_ARTEFACT  # to skip frames would free nothing
    assert ladder.note == "degraded: smaller artefact (memory: 300 of 7620 MiB are left)"


def test_between_low_and_relief_it_stays_and_then_it_goes_back() -> None:
    ladder = after(15, replace(ORIN, available_mib=300.0), Ladder())
    assert ladder.rung is Rung.NO_SECOND_OPINION
    assert after(600, replace(ORIN, available_mib=600.0), ladder, 15).rung is Rung.NO_SECOND_OPINION
    assert after(600, replace(ORIN, available_mib=700.0), ladder, 15).rung is Rung.FULL


def test_waiting_for_memory_presses_though_some_is_left() -> None:
    stalled = replace(ORIN, stalled=0.42)
    assert after(15, stalled, Ladder()).why == "memory: everything waits for memory 42% of the time"
    assert not is_relieved(replace(ORIN, stalled=0.2), RULES.memory)


def test_what_cannot_be_read_or_is_nonsense_presses_nothing_and_keeps_nothing() -> None:
    pressed = after(600, replace(ORIN, available_mib=1.0), Ladder())
    for room in (None, MemoryRoom(math.nan, math.nan, math.nan)):
        assert after(600, room, Ladder()).rung is Rung.FULL
        assert after(600, room, pressed, 600).rung is Rung.FULL


def given_up_after(seconds: int, available_mib: float, state: GivenUp, *, nothing_else: bool = True) -> GivenUp:
    room = replace(ORIN, available_mib=available_mib)
    start_s = state.since_s
    for second in range(seconds + 1):
        state = next_given_up(
            state, room, RULES.memory, nothing_else=nothing_else, turn_after_s=10.0, now_s=start_s + second
        )
    return state


def test_the_models_beside_go_last_and_only_when_it_is_critical() -> None:
    assert not given_up_after(600, 100.0, GivenUp(), nothing_else=False).given_up
    assert not given_up_after(600, 300.0, GivenUp()).given_up  # low, and not critical
    assert not given_up_after(9, 100.0, GivenUp()).given_up
    assert given_up_after(10, 100.0, GivenUp()).given_up


def test_they_come_back_when_there_is_room_for_them_too() -> None:
    gone = given_up_after(10, 100.0, GivenUp())
    assert given_up_after(600, 1000.0, gone).given_up  # what they freed themselves is no reason
    assert not given_up_after(10, 1500.0, gone).given_up


def test_a_clock_that_steps_back_makes_it_later_and_never_sooner() -> None:
    state = next_given_up(
        GivenUp(since_s=1000.0, turning=True),
        replace(ORIN, available_mib=1.0),
        RULES.memory,
        nothing_else=True,
        turn_after_s=10.0,
        now_s=5.0,
    )
    assert state == GivenUp(False, True, 5.0)


rooms = st.builds(MemoryRoom, st.just(7620.0), st.floats(allow_nan=True), st.floats(allow_nan=True))


@given(st.lists(st.tuples(st.floats(allow_nan=True), st.one_of(st.none(), rooms), st.booleans()), max_size=40))
def test_whatever_is_read_nothing_raises_and_what_presses_is_never_relieved(
    looks: list[tuple[float, MemoryRoom | None, bool]],
) -> None:
    state = GivenUp()
    for now_s, room, nothing_else in looks:
        state = next_given_up(state, room, RULES.memory, nothing_else=nothing_else, turn_after_s=10.0, now_s=now_s)
        assert not (why_low(room, RULES.memory) and is_relieved(room, RULES.memory))


def test_a_lowered_ceiling_counts_only_on_a_hot_machine_and_never_for_what_says_so_itself() -> None:
    zone = Zone("cpu-thermal", 60.0, 99.0, 104.5)
    assert slowed_by(Heat((zone,), capped="policy0"), HeatRules()) == ""
    hot = replace(zone, temp_c=90.5)
    assert slowed_by(Heat((hot,), capped="policy0"), HeatRules()) == "policy0"
    assert slowed_by(Heat((hot,), "the firmware", "policy0"), HeatRules()) == "the firmware"
    assert slowed_by(Heat((), capped="policy0"), HeatRules()) == ""


class _Board:
    """4 GiB, of which the models beside take `takes_mib`: looked at once a second for hours."""

    def __init__(self, free_mib: float, takes_mib: float) -> None:
        self.free_mib, self.takes_mib, self.now_s = free_mib, takes_mib, 0.0
        self.ladder, self.state = Ladder(), GivenUp()
        self.turns: list[tuple[float, bool]] = []

    def hours(self, hours: float) -> None:
        for _ in range(int(hours * 3600)):
            self.now_s += 1.0
            free = self.free_mib - (0.0 if self.state.given_up else self.takes_mib)
            room = MemoryRoom(4096.0, free)
            self.ladder = next_rung(self.ladder, Pressure(memory=room), RULES, self.now_s)
            before = self.state.given_up
            self.state = next_given_up(
                self.state,
                room,
                RULES.memory,
                nothing_else=self.ladder.rung >= Rung.SMALLER_ARTEFACT,
                turn_after_s=RULES.relief_s if before else RULES.climb_after_s,
                now_s=self.now_s,
            )
            if self.state.given_up is not before:
                self.turns.append((self.now_s, self.state.given_up))


def test_a_board_too_small_for_its_models_does_not_load_them_for_ever() -> None:
    board = _Board(free_mib=900.0, takes_mib=850.0)
    board.hours(8)
    gone = [now_s for now_s, given_up in board.turns if given_up]
    waits = [later - earlier for earlier, later in pairwise(gone)]
    assert waits[0] < 150 and all(later > 1.5 * earlier for earlier, later in pairwise(waits[:4]))
    assert len(gone) <= 36, "every two minutes would be two hundred and more"
    assert max(waits) < 1200, "and they are tried again within twenty minutes"


def test_what_was_short_once_is_taken_back_as_soon_the_next_time() -> None:
    board = _Board(free_mib=900.0, takes_mib=850.0)
    board.hours(1)
    assert board.state.again >= 3
    board.free_mib = 4000.0
    board.hours(3)
    assert not board.state.given_up, "there is room now"
    board.free_mib = 900.0
    board.hours(0.02)
    assert board.state.given_up and board.state.again == 0
    board.free_mib = 4000.0
    before = board.now_s
    board.hours(0.1)
    now_s, given_up = board.turns[-1]
    assert not given_up and now_s - before <= 61.0
