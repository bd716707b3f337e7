"""Error budgets over hours: by hand, and whatever order the hours were filled in."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.slo.budget import Spending, spending, why_held, within
from cloud.slo.freshness import fresh_minutes
from cloud.slo.tally import HOUR_S, Promise, Tally, frames, hour_of, late_frames, recoveries
from contract.messages import Accounting

H0 = 500_000
NOW = H0 * HOUR_S + 1_800.0
"""Half past."""

TALLIES = st.builds(lambda good, bad: Tally(good, good + bad), st.integers(0, 1000), st.integers(0, 50))
EVENTS = st.lists(st.tuples(st.integers(H0 - 700, H0 + 2), TALLIES), max_size=60)


def hours_of(events: list[tuple[int, Tally]]) -> dict[int, Tally]:
    hours: dict[int, Tally] = {}
    for hour, tally in events:
        hours[hour] = hours.get(hour, Tally()).plus(tally)
    return hours


@given(EVENTS, st.randoms(use_true_random=False))
def test_in_which_order_hours_are_filled_does_not_matter(events: list[tuple[int, Tally]], dice: object) -> None:
    shuffled = list(events)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert hours_of(shuffled) == hours_of(events)
    both = (spending(Promise.AVAILABILITY, 0.99, hours_of(each), NOW, 28) for each in (events, shuffled))
    first, second = both
    assert first == second


@given(EVENTS)
def test_longer_windows_hold_no_less_and_what_is_to_come_does_not_count(events: list[tuple[int, Tally]]) -> None:
    hours = hours_of(events)
    for shorter, longer in pairwise(within(hours, NOW, length) for length in (1, 6, 24, 672)):
        assert (
            shorter.total <= longer.total + 1e-6 and shorter.total - shorter.good <= longer.total - longer.good + 1e-6
        )
    past = {hour: tally for hour, tally in hours.items() if hour <= H0}
    assert within(past, NOW, 672) == within(hours, NOW, 672)
    assert within(hours, NOW, 2_000).total == sum(tally.total for tally in past.values())


@given(EVENTS, st.floats(0.5, 0.9999))
def test_a_budget_is_spent_when_the_promise_is_broken_and_not_before(
    events: list[tuple[int, Tally]], target: float
) -> None:
    found = spending(Promise.IN_TIME, target, hours_of(events), NOW, 28)
    if found.share is None:
        assert found.spent == 0.0 and found.events == 0
    elif abs(found.share - target) > 1e-9:
        assert (found.spent > 1.0) is (found.share < target)


def test_budgets_by_hand() -> None:
    hours = {H0: Tally(90, 100), H0 - 1: Tally(200, 200), H0 - 30: Tally(9_710, 9_700 + 200)}
    found = spending(Promise.AVAILABILITY, 0.98, hours, NOW, 28)
    assert found.events == 10_200 and found.share == pytest.approx(10_000 / 10_200)
    assert found.spent == pytest.approx(200 / 204)
    # The last hour: this half, and half of the one before.
    assert found.burn[0] == pytest.approx(10 / 200 / 0.02)
    assert found.burn[1] == pytest.approx(10 / 300 / 0.02)
    assert "2 % of the error budget is left, and goes 1.7 times too fast" in found.in_words(28)
    assert spending(Promise.AVAILABILITY, 0.98, hours, NOW + 1_800, 28).burn[0] == pytest.approx(10 / 100 / 0.02)
    assert spending(Promise.AVAILABILITY, 0.98, hours, NOW + 29 * 86_400, 28).share is None


def spent(promise: Promise, *, events: int, hours: int, bad_share: float, target: float = 0.99) -> Spending:
    each = events // hours
    return spending(
        promise, target, {H0 - n: Tally(each - each * bad_share, each) for n in range(hours)}, NOW + 1_799, 28
    )


@pytest.mark.parametrize(("bad", "events", "burns"), [(1, 7, False), (9, 10, False), (10, 60, True)])
def test_a_few_bad_events_of_a_few_are_no_burn(bad: int, events: int, burns: bool) -> None:
    found = spending(Promise.IN_TIME, 0.99, {H0: Tally(events - bad, events)}, NOW, 28)
    assert (found.burn[0] > 14.4, found.burn[1] > 14.4) == (burns, burns)
    assert found.spent > 1.0, "that much is known"


def test_releases_wait_for_a_spent_budget_that_was_measured_well() -> None:
    def held(*those: Spending) -> str:
        return why_held({each.promise: each for each in those}, 28)

    bad = spent(Promise.AVAILABILITY, events=24_000, hours=24, bad_share=0.02)
    assert "the error budget is spent" in held(bad) and "frames captured were decided" in held(bad)
    assert "--despite-budget" in held(bad), "what only a release mends must not hold it for ever"
    assert held(spent(Promise.AVAILABILITY, events=24_000, hours=24, bad_share=0.005)) == ""
    assert held(spent(Promise.AVAILABILITY, events=600, hours=24, bad_share=0.5)) == "", "too few events"
    assert held(spent(Promise.AVAILABILITY, events=24_000, hours=4, bad_share=0.5)) == "", "one bad morning"
    assert held(spending(Promise.FRESHNESS, 0.99, {}, NOW, 28)) == "", "never measured"
    unmended = spent(Promise.RECOVERY, events=24_000, hours=24, bad_share=0.5, target=0.9)
    assert unmended.spent > 1 and held(unmended) == "", "a release is what mends a drift"
    assert held(bad, spent(Promise.FRESHNESS, events=24_000, hours=24, bad_share=0.2)).count("spent") == 2


def test_a_share_is_never_rounded_up_to_the_promise() -> None:
    words = spending(Promise.AVAILABILITY, 0.999, {H0: Tally(99_899, 100_000)}, NOW, 28).in_words(28)
    assert "99.89 %" in words and "promised: 99.90 %" in words and "spent" in words


@pytest.mark.parametrize("promise", list(Promise))
def test_what_was_never_counted_says_so(promise: Promise) -> None:
    assert "nothing was counted" in spending(promise, 0.9, {}, NOW, 28).in_words(28)


def test_frames_come_to_decided_and_in_time() -> None:
    window = Accounting(20, 9, 2, {"unsure": 3, "late": 4}, {"queue full": 1}, 1)
    told = frames(window.captured, window.decided, late_frames(window))
    assert told == {Promise.AVAILABILITY: (18, 20), Promise.IN_TIME: (14, 18)}


def test_a_drift_counts_once_in_the_hour_it_was_decided() -> None:
    day = 86_400.0
    alarms = [
        (NOW - 10 * day, NOW - 9 * day),  # mended
        (NOW - 10 * day, NOW - 1 * day),  # too late: decided after three days
        (NOW - 5 * day, None),  # open for too long
        (NOW - 1 * day, None),  # may yet be mended
    ]
    found = recoveries(alarms, NOW, 3 * day)
    assert found == {
        hour_of(NOW - 9 * day): (1, 1),
        hour_of(NOW - 7 * day): (0, 1),
        hour_of(NOW - 2 * day): (0, 1),
    }
    assert recoveries(alarms, NOW + 10 * day, 3 * day)[hour_of(NOW + 2 * day)] == (0, 1)


M0 = int(NOW // 60)


def test_fresh_data_counts_minute_by_minute() -> None:
    heard = np.array([NOW - 10, NOW - 899, NOW - 901, NOW - 5_000])
    assert fresh_minutes(heard, None, NOW, 900.0) == (M0, {H0: Tally(2, 4)})
    assert fresh_minutes(heard, M0, NOW + 30, 900.0) == (M0, {}), "once a minute"
    assert fresh_minutes(heard, M0 + 5, NOW, 900.0) == (M0 + 5, {}), "a clock that was set back counts nothing twice"
    assert fresh_minutes(np.array([]), None, NOW, 900.0) == (M0, {})


def test_a_minute_of_2106_does_not_end_the_counting_of_fresh_data() -> None:
    heard = np.array([NOW - 10])
    wrong, _ = fresh_minutes(heard, M0, 4_294_967_295.0, 900.0)
    # Set right again: the clock was wrong, and not this one.
    assert fresh_minutes(heard, wrong, NOW + 60, 900.0) == (M0 + 1, {H0: Tally(1, 1)})


def test_minutes_nobody_looked_in_count_as_far_as_it_is_known() -> None:
    # Down for an hour with everything: the data got old, for whoever was not heard of since.
    heard = np.array([NOW - 3_600, NOW - 3_600, NOW - 5])
    minute, hours = fresh_minutes(heard, M0 - 60, NOW, 900.0)
    total = Tally()
    for tally in hours.values():
        total = total.plus(tally)
    # Two of them for 60 minutes, fresh for the first 14; the third now, and at the end of the minute before.
    assert (minute, total) == (M0, Tally(2 * 14 + 2, 2 * 60 + 2))
    assert set(hours) == {H0 - 1, H0}
    assert fresh_minutes(heard, M0 - 10_000_000, NOW, 900.0)[1].keys() <= {H0 - n for n in range(26)}, "bounded"


@given(st.lists(st.integers(1, 200), max_size=30), st.integers(0, 100))
def test_looking_often_or_seldom_never_counts_a_minute_twice(gaps: list[int], stations: int) -> None:
    last, counted, now = None, 0.0, NOW
    for gap in gaps:
        now += gap
        before = last
        last, hours = fresh_minutes(np.full(stations, NOW - 10.0), last, now, 900.0)
        counted += sum(tally.total for tally in hours.values())
        assert before is None or last >= before
    if gaps:
        first = int((NOW + gaps[0]) // 60)
        assert counted == stations * (int(now // 60) - first + 1)
