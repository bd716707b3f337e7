"""Who is taken on, by a clock of our own: nobody who would be late by the desk's own reckoning, and everybody is accounted for."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.fallback.admission import Desk, plan
from cloud.fallback.pace import Pace
from cloud.fallback.questions import Fate, Question, Refused

MIB = 1 << 20
ONE_S = {"a": 0.010, "b": 0.030}
"""What an image takes; a batch costs half of that for each further one. Model b judges one at a time."""
ROOM = {"a": 4, "b": 1}


def took_s(model: str, size: int) -> float:
    return ONE_S[model] * (1 + (size - 1) / 2)


def exact_pace() -> Pace:
    pace = Pace()
    for model, room in ROOM.items():
        for size in range(1, room + 1):
            pace.note(model, size, took_s(model, size))
    return pace


class Shop:
    """A desk whose workers take exactly as long as it believes, by a clock that only moves when told."""

    def __init__(self, workers: int = 1, max_bytes: int = 64 * MIB, factor: Callable[[], float] = lambda: 1.0) -> None:
        """`factor`: by which a batch takes longer than it should."""
        self.now, self._factor = 100.0, factor
        self.desk = Desk(exact_pace(), workers=workers, max_bytes=max_bytes, max_wait_s=0.004)
        self._ends: list[tuple[float, int, tuple[Question, ...]]] = []
        self._number = 0
        self.answered: list[tuple[Question, float]] = []
        self.dropped: list[tuple[Question, Fate]] = []
        self._admitted: dict[int, Question] = {}

    def ask(
        self, within_s: float, *, model: str = "a", station: str = "s", size_bytes: int = 1000, deferred: bool = False
    ) -> Refused | None:
        self._number += 1
        question = Question(self._number, station, model, ROOM[model], self.now + within_s, size_bytes, deferred)
        refusal = self.desk.offer(question, self.now)
        if refusal is not None:
            return refusal.cause
        self._admitted[question.number] = question
        assert self.desk.arrived(question, size_bytes, self.now)
        self._serve()
        return None

    def hang_up(self, number: int) -> None:
        if self.desk.leave(number, Fate.GONE):
            self.dropped.append((self._admitted[number], Fate.GONE))
            self._serve()

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while self._ends and self._ends[0][0] <= until:
            at, batch, questions = self._ends.pop(0)
            self.now = at
            self.desk.finished(batch, [Fate.ANSWERED] * len(questions), at)
            self.answered += [(each, at) for each in questions]
            self._serve()
        self.now = max(self.now, until)
        self._serve()

    def _serve(self) -> None:
        for number in self.desk.overdue(self.now):
            assert self.desk.leave(number, Fate.LATE)
            self.dropped.append((self._admitted[number], Fate.LATE))
        while (taken := self.desk.take(self.now)) is not None:
            batch, running = taken
            size = len(running.questions)
            assert size <= running.questions[0].room and len({each.model for each in running.questions}) == 1
            takes_s = took_s(running.questions[0].model, size) * self._factor()
            self._ends.append((self.now + takes_s, batch, running.questions))
            self._ends.sort()

    def check_books(self) -> None:
        counts = self.desk.counts
        running = sum(len(questions) for _, _, questions in self._ends)
        assert counts.admitted == sum(counts.fates.values()) + self.desk.waiting + running
        assert counts.fates[Fate.ANSWERED] == len(self.answered)
        assert counts.admitted + sum(counts.refused.values()) == self._number


ARRIVALS = st.lists(
    st.tuples(
        st.floats(0, 0.05),
        st.floats(0.005, 0.3),
        st.sampled_from("ab"),
        st.sampled_from(["s1", "s2", "s3"]),
        st.integers(1, 9 * MIB),
        st.booleans(),
    ),
    max_size=60,
)


@given(ARRIVALS, st.integers(1, 3))
def test_nobody_who_is_taken_on_is_late_where_the_desk_reckons_right(
    arrivals: list[tuple[float, float, str, str, int, bool]], workers: int
) -> None:
    shop = Shop(workers)
    for gap_s, within_s, model, station, size_bytes, _ in arrivals:
        shop.wait(gap_s)
        shop.ask(within_s, model=model, station=station, size_bytes=size_bytes)
        shop.check_books()
    shop.wait(10.0)
    shop.check_books()
    assert not shop.dropped
    assert all(at <= question.due_at + 1e-9 for question, at in shop.answered)


@given(ARRIVALS, st.integers(1, 3), st.lists(st.tuples(st.integers(0, 59), st.integers(1, 60)), max_size=20))
def test_what_is_taken_on_is_answered_or_dropped_by_cause_and_bytes_are_bounded(
    arrivals: list[tuple[float, float, str, str, int, bool]], workers: int, leaves: list[tuple[int, int]]
) -> None:
    shop = Shop(workers, max_bytes=20 * MIB)
    for step, (gap_s, within_s, model, station, size_bytes, deferred) in enumerate(arrivals):
        shop.wait(gap_s)
        shop.ask(within_s, model=model, station=station, size_bytes=size_bytes, deferred=deferred)
        for _, number in (each for each in leaves if each[0] == step):
            shop.hang_up(number)
        assert 0 <= shop.desk.waiting_bytes <= 20 * MIB
        shop.check_books()
    shop.wait(10.0)
    shop.check_books()
    assert shop.desk.waiting == shop.desk.running == shop.desk.waiting_bytes == 0
    assert len(shop.answered) + len(shop.dropped) == shop.desk.counts.admitted


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from("ab")), min_size=1, max_size=40), st.integers(1, 3))
def test_a_plan_answers_each_once_and_no_worker_does_two_things_at_a_time(
    waits: list[tuple[float, str]], workers: int
) -> None:
    pace = exact_pace()
    ordered = sorted(
        (Question(n, "s", model, ROOM[model], due, 1) for n, (due, model) in enumerate(waits)),
        key=lambda each: each.due_at,
    )
    ends, last = plan(ordered, [0.0] * workers, pace.batch_s, 5.0)
    assert ends.keys() == {each.number for each in ordered} and last == max(ends.values())
    # No less than the work there is, shared by all: in full batches at best.
    least = sum(took_s(m, ROOM[m]) / ROOM[m] * sum(q.model == m for q in ordered) for m in ROOM) / workers
    assert last - 5.0 >= least - 1e-9
    assert all(ends[q.number] >= 5.0 + took_s(q.model, 1) - 1e-9 for q in ordered)


def test_a_rush_is_answered_up_to_what_can_be_done_and_the_rest_refused_at_once() -> None:
    shop = Shop()
    said = [shop.ask(0.098, station=f"s{n}") for n in range(100)]
    # One alone (10 ms), three batches of four (25 ms each), and one alone again end within 98 ms.
    assert said.count(None) == 14 and set(said) == {None, Refused.LATE}
    shop.wait(1.0)
    assert len(shop.answered) == 14


@pytest.mark.parametrize("load", [1, 2, 4, 20])
def test_what_comes_by_chance_beyond_capacity_is_answered_in_time_or_refused_at_once(load: int) -> None:
    dice = random.Random(load)
    # Batches take from a fifth less to a third more than they should: the desk has to learn that.
    shop = Shop(factor=lambda: dice.uniform(0.8, 1.33))
    capacity_per_s, seconds = 4 / (took_s("a", 4) * 1.065), 20.0
    while shop.now < 100.0 + seconds:
        shop.wait(dice.expovariate(load * capacity_per_s))
        shop.ask(0.15, station=f"s{dice.randrange(30)}")
    shop.wait(1.0)
    shop.check_books()
    in_time = sum(at <= question.due_at for question, at in shop.answered)
    assert in_time >= 0.99 * len(shop.answered)
    assert in_time / seconds >= (0.8 if load > 1 else 0.75) * capacity_per_s


def test_one_in_a_hurry_goes_before_those_who_can_wait_but_makes_none_of_them_late() -> None:
    shop = Shop()
    assert shop.ask(0.2, model="b") is None  # until 30 ms
    assert shop.ask(0.2, model="b") is None
    assert shop.ask(0.075, model="b") is None
    assert shop.ask(0.075, model="b") is Refused.LATE, "two within 75 ms are too many"
    shop.wait(1.0)
    assert [question.number for question, _ in shop.answered] == [1, 3, 2]
    shop.ask(0.2, model="b")
    assert shop.ask(0.065, model="b") is None
    assert shop.ask(0.095, model="b") is None
    assert shop.ask(0.092, model="b") is Refused.LATE, "it could be done, and one taken on would not"


def test_a_chatty_station_leaves_room_for_others() -> None:
    shop = Shop()
    answered = dict.fromkeys(("loud", "quiet 1", "quiet 2"), 0)
    for _ in range(400):
        for name, times in (("loud", 8), ("quiet 1", 1), ("quiet 2", 1)):
            for _ in range(times):
                answered[name] += shop.ask(0.2, station=name) is None
        shop.wait(0.012)  # two images' worth at best
    # 800 could be answered; 400 each are asked for by the quiet ones.
    assert shop.desk.counts.refused[Refused.SHARE] > 0
    assert answered["quiet 1"] > 200 and answered["quiet 2"] > 200
    assert sum(answered.values()) > 700


@pytest.mark.parametrize(("size_bytes", "taken"), [(16 * MIB, 2), (100, 256)])
def test_a_station_whose_images_hardly_come_does_not_take_all_the_room(size_bytes: int, taken: int) -> None:
    desk = Desk(exact_pace(), workers=1, max_bytes=64 * MIB, max_wait_s=0.0)
    slow = [Question(n, "slow", "a", 4, 60.0, size_bytes) for n in range(600)]
    said = [desk.offer(each, 0.0) for each in slow]
    assert said.count(None) == taken and {refusal.cause for refusal in said if refusal} == {Refused.SHARE}
    prompt = Question(700, "prompt", "a", 4, 1.0, 2 * MIB)
    assert desk.offer(prompt, 0.0) is None and desk.arrived(prompt, 2 * MIB, 0.0)


def test_a_station_alone_may_have_all_of_it() -> None:
    shop = Shop()
    assert [shop.ask(0.098) for _ in range(20)].count(None) == 14
    assert shop.desk.counts.refused[Refused.SHARE] == 0


def test_who_can_wait_fills_idle_time_one_at_a_time() -> None:
    shop = Shop(workers=2)
    assert shop.ask(5.0, deferred=True) is None
    assert shop.ask(5.0, deferred=True) is None
    assert shop.desk.running == 1, "a line that asks the next moment finds a worker"
    assert shop.ask(0.1) is None
    assert shop.desk.running == 2
    for _ in range(100):
        shop.ask(0.1, station="busy")
        shop.ask(0.1, station="busy too")
    shop.wait(0.011)
    assert [each.number for each, _ in shop.answered if each.deferred] == [1], "the second waits for idle time"
    shop.wait(3.0)
    assert [each.number for each, _ in shop.answered if each.deferred] == [1, 2]


def test_a_line_whose_image_hardly_comes_leaves_idle_time_to_who_can_wait() -> None:
    for within_s, idle in ((60.0, True), (0.015, False)):
        desk = Desk(exact_pace(), workers=1, max_bytes=64 * MIB, max_wait_s=0.0)
        later = Question(1, "s1", "a", 4, 900.0, 1000, deferred=True)
        assert desk.offer(later, 0.0) is None and desk.arrived(later, 1000, 0.0)
        assert desk.offer(Question(2, "s2", "a", 4, within_s, 1000), 0.0) is None  # and its image is on its way
        assert (desk.take(0.0) is not None) is idle


def test_who_can_wait_is_sent_away_when_many_do_or_lines_never_cease() -> None:
    shop = Shop()
    for _ in range(200):
        assert shop.ask(10.0, model="b") is None  # six seconds' worth
    said = [shop.ask(900.0, deferred=True) for _ in range(40)]
    assert said.count(Refused.FULL) == 8
    shop.wait(4.9)
    assert not shop.dropped
    shop.wait(0.2)
    assert [fate for _, fate in shop.dropped] == [Fate.LATE] * 32
    assert not any(question.deferred for question, _ in shop.answered)


def test_what_comes_slowly_for_later_leaves_room_for_lines() -> None:
    desk = Desk(exact_pace(), workers=1, max_bytes=40 * MIB, max_wait_s=0.0)
    slow = [Question(n, "s", "a", 4, 900.0, 8 * MIB, deferred=True) for n in range(4)]
    assert [desk.offer(each, 0.0) is None for each in slow] == [True, True, False, False]
    assert desk.offer(Question(9, "s", "a", 4, 1.0, 16 * MIB), 0.0) is None
    # Minutes later it is here, and has its patience still before it.
    assert desk.arrived(slow[0], 8 * MIB, 400.0)
    assert desk.overdue(404.9) == [9] and set(desk.overdue(405.0)) == {9, 0}


def test_what_would_not_fit_in_memory_is_refused() -> None:
    shop = Shop(max_bytes=10 * MIB)
    assert shop.ask(5.0, size_bytes=6 * MIB) is None
    assert shop.ask(5.0, size_bytes=6 * MIB) is Refused.FULL
    shop.wait(1.0)
    assert shop.ask(5.0, size_bytes=6 * MIB) is None


def test_an_image_that_was_long_on_its_way_is_dropped_before_it_is_judged() -> None:
    desk = Desk(exact_pace(), workers=1, max_bytes=MIB, max_wait_s=0.0)
    question = Question(1, "s", "b", 1, 1.0, 10)
    assert desk.offer(question, 0.0) is None
    assert not desk.arrived(question, 12, 0.98), "30 ms are not left"
    assert desk.counts.fates[Fate.LATE] == 1 and desk.waiting_bytes == 0
    assert not desk.arrived(question, 12, 0.98), "and it is not on the desk any more"


def test_a_batch_waits_a_little_for_what_is_on_its_way_and_no_longer() -> None:
    desk = Desk(exact_pace(), workers=1, max_bytes=MIB, max_wait_s=0.004)
    first, second = (Question(n, "s", "a", 4, 1.0, 10) for n in (1, 2))
    for each in (first, second):
        assert desk.offer(each, 0.0) is None
    assert desk.arrived(first, 10, 0.0)
    assert desk.take(0.001) is None and desk.holds
    assert desk.arrived(second, 10, 0.002)
    taken = desk.take(0.0041)
    assert taken is not None and len(taken[1].questions) == 2
    alone = Question(3, "s", "a", 4, 1.0, 10)
    desk.finished(taken[0], [Fate.ANSWERED] * 2, 0.02)
    assert desk.offer(alone, 0.02) is None and desk.arrived(alone, 10, 0.02)
    assert desk.take(0.02) is not None, "nobody is on the way: there is nothing to wait for"


@pytest.mark.parametrize("slow", [1, 3])
def test_the_pace_is_learnt_on_the_safe_side(slow: int) -> None:
    pace = Pace(0.9)
    for n in range(20):
        pace.note("a", 1, 0.05 if n >= 20 - slow else 0.01)
    slowness = 5.0 if slow > 1 else 1.0
    assert pace.batch_s("a", 1) == pytest.approx(0.01 * slowness)
    assert pace.batch_s("a", 4) == 4 * pace.batch_s("a", 1), "no batch takes longer than one after the other"
    assert pace.least_s("a") == pace.usual_s("a", 1) == 0.01
    pace.note("a", 4, 0.02)
    assert pace.batch_s("a", 4) == pytest.approx(0.02 * slowness), "what is slow is slow whatever the size"
    assert pace.batch_s("a", 8) == pytest.approx(0.04 * slowness)
    pace.forget("a")
    assert pace.batch_s("a", 1) == 0.1 and pace.least_s("a") == 0.0


def test_a_size_that_was_not_seen_lately_is_known_to_be_slow_by_those_that_were() -> None:
    pace = Pace()
    for size, took_s in ((1, 0.01), (4, 0.025)):
        for _ in range(24):
            pace.note("a", size, took_s)
    for _ in range(4):
        pace.note("a", 4, 0.1)
    assert pace.batch_s("a", 1) == pytest.approx(0.04) and pace.batch_s("a", 4) == pytest.approx(0.1)


def test_one_slow_batch_does_not_close_the_door_for_good() -> None:
    slow = 40.0
    shop = Shop(factor=lambda: slow)
    assert shop.ask(0.15) is None
    shop.wait(1.0)
    # 400 ms, once: with idle hands it is tried again, by what half of the batches take.
    slow = 1.0
    said = []
    for _ in range(20):
        said.append(shop.ask(0.15))
        shop.wait(0.1)
    assert said.count(None) >= 15


def test_a_slow_time_is_forgotten_when_it_is_over() -> None:
    pace = Pace()
    for took in (*[0.5] * 30, *[0.01] * 24):
        pace.note("a", 1, took)
    assert pace.batch_s("a", 1) == 0.01


def test_a_worker_that_hangs_is_no_free_one() -> None:
    shop = Shop(factor=lambda: 1e6)
    assert shop.ask(0.1) is None
    shop.wait(2.0)  # two hundred times as long as it should take
    assert [shop.ask(within_s, station=f"s{within_s}") for within_s in (0.1, 0.5, 1.5)] == [Refused.LATE] * 3
    assert shop.ask(2.5) is None, "it may take as long again as it has"


@pytest.mark.parametrize("noise", [0.2, 0.5])
def test_when_everything_takes_four_times_as_long_hardly_anything_is_judged_in_vain(noise: float) -> None:
    dice = random.Random(7)
    slow = 1.0
    shop = Shop(factor=lambda: slow * dice.lognormvariate(0.0, noise))
    within_s, seconds = 0.45, 20.0
    capacity_per_s = 4 / (took_s("a", 4) * math.exp(noise**2 / 2))
    for _ in range(200):
        shop.wait(dice.expovariate(4 * capacity_per_s))
        shop.ask(within_s, station=f"s{dice.randrange(24)}")
    # Others take the machine from now on, and no less is asked for.
    slow, began, before = 4.0, shop.now, len(shop.answered)
    while shop.now < began + seconds:
        shop.wait(dice.expovariate(4 * capacity_per_s))
        shop.ask(within_s, station=f"s{dice.randrange(24)}")
    shop.wait(10.0)
    shop.check_books()
    judged = shop.answered[before:]
    in_time = sum(at <= question.due_at for question, at in judged)
    assert in_time >= 0.95 * len(judged), "whoever will be late is sent away before, not after"
    assert in_time / seconds >= 0.75 * capacity_per_s / 4
