"""How much one may ask: exact, by a clock that is given."""

from __future__ import annotations

import sys

import pytest
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st

from cloud.api.limits import RateLimit, RequestLimits, network_of
from tests.fakes.agent_clock import HandClock

SALT = b"0123456789abcdef"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def limits(clock: HandClock, requests: int = 3, failures: int = 2) -> RequestLimits:
    return RequestLimits(requests, failures, monotonic=clock.monotonic, salt=SALT)


def test_as_many_as_a_minute_allows_go_at_once_and_then_one_at_a_time() -> None:
    limit = RateLimit(60, salt=SALT)
    assert [limit.take("a", 1000.0) for _ in range(60)] == [0.0] * 60
    assert limit.take("a", 1000.0) == pytest.approx(1.0)
    assert limit.take("a", 1000.5) == pytest.approx(0.5)
    assert limit.take("a", 1001.0) == 0.0
    assert limit.take("a", 1001.0) == pytest.approx(1.0)
    assert limit.take("b", 1001.0) == 0.0


def test_what_counts_for_several_takes_as_much() -> None:
    limit = RateLimit(60, salt=SALT, at_once=10)
    assert limit.take("a", 1000.0, 4) == 0.0
    assert limit.take("a", 1000.0, 7) == pytest.approx(1.0)
    assert limit.take("a", 1000.0, 6) == 0.0
    assert limit.take("a", 1000.0) == pytest.approx(1.0)
    assert limit.take("a", 1010.0, 10) == 0.0


@given(
    st.integers(1, 5000),
    st.integers(1, 300),
    st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(1, 300)), min_size=1, max_size=200),
    st.floats(0.0, 2e9),
)
def test_of_those_at_once_and_their_rate_never_more(
    per_minute: int, at_once: int, acts: list[tuple[float, int]], start: float
) -> None:
    limit, now, taken = RateLimit(per_minute, salt=SALT, at_once=at_once), start, 0
    for gap, count in acts:
        now += gap
        count = min(count, at_once)
        wait_s = limit.take("a", now, count)
        taken += count if wait_s == 0.0 else 0
        assert wait_s == 0.0 or limit.wait_s("a", now + wait_s + 1e-3, count) == 0.0, "it may come when it was told to"
    assert taken <= at_once + (now - start) * per_minute / 60.0 + 0.1


@given(
    st.integers(1, 200),
    st.lists(st.floats(0.0, 90.0), min_size=1, max_size=300),
    st.floats(0.0, 2e9),
)
def test_never_more_than_its_rate_and_a_minutes_worth(per_minute: int, gaps: list[float], start: float) -> None:
    limit, now, taken = RateLimit(per_minute, salt=SALT), start, 0
    for gap in gaps:
        now += gap
        wait_s = limit.take("a", now)
        assert 0.0 <= wait_s <= 60.0 / per_minute + 1e-3
        taken += wait_s == 0.0
    assert taken <= per_minute + (now - start) * per_minute / 60.0 + 1e-3


def test_however_many_addresses_ask_the_memory_stays() -> None:
    limit = RateLimit(60, salt=SALT)
    before = sys.getsizeof(limit._free_at)
    for number in range(50_000):
        limit.take(f"address {number}", 1.0)
    assert sys.getsizeof(limit._free_at) == before < 200_000


def test_a_person_and_an_address_have_their_own(clock: HandClock) -> None:
    limited = limits(clock)
    for _ in range(3):
        limited.count_person("eva")
        limited.count_address("10.0.0.5")
    for count in (lambda: limited.count_person("eva"), lambda: limited.count_address("10.0.0.5")):
        with pytest.raises(HTTPException) as refused:
            count()
        assert refused.value.status_code == 429 and refused.value.headers == {"Retry-After": "20"}
    limited.count_person("10.0.0.5")
    limited.count_address("eva")
    clock.forward(20.0)
    limited.count_person("eva")


def test_one_wrong_script_does_not_shut_out_who_is_known_beside_it(clock: HandClock) -> None:
    limited = limits(clock)
    limited.note_try("10.0.0.5", "eva's", good=True)
    for number in range(2):
        limited.check_tries("10.0.0.5", f"wrong {number}")
        limited.note_try("10.0.0.5", f"wrong {number}", good=False)
    with pytest.raises(HTTPException):
        limited.check_tries("10.0.0.5", "another's")
    limited.check_tries("10.0.0.5", "eva's")
    limited.check_tries("10.0.0.6", "another's")
    limited.note_try("10.0.0.5", "eva's", good=False)  # revoked meanwhile
    with pytest.raises(HTTPException):
        limited.check_tries("10.0.0.5", "eva's")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.5", "10.0.0.5"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network
