"""Maintenance windows as people write them: days, over midnight, time zones that change their clocks."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.maintenance import read_window, why_closed
from contract.errors import InvalidConfig

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _at(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("when", "is_open"),
    [
        ("2026-11-30 21:59", False),  # a Monday
        ("2026-11-30 22:00", True),
        ("2026-12-01 04:59", True),
        ("2026-12-01 05:00", False),
        ("2026-12-04 23:00", True),  # Friday night goes on into Saturday, which is no day of its own
        ("2026-12-05 04:00", True),
        ("2026-12-05 23:00", False),
        ("2026-12-07 04:00", False),  # Sunday night is none
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(when: str, is_open: bool) -> None:
    assert read_window("mon-fri 22:00-05:00 Europe/Berlin").is_open(_at(when)) is is_open


def test_clocks_that_change_move_a_window_with_the_wall() -> None:
    night = read_window("02:00-03:00 Europe/Berlin")
    assert night.is_open(_at("2026-10-25 02:30")) and night.is_open(_at("2026-10-25 02:30", fold=1))
    spring = [_at("2026-03-29 00:00") + 60.0 * minute for minute in range(23 * 60)]
    assert not any(night.is_open(at) for at in spring), "on that day there is no such hour"
    assert read_window("22:00-23:00 Europe/Berlin").opens_at(_at("2026-03-28 23:30")) == _at("2026-03-29 22:00")
    assert _at("2026-03-29 22:00") - _at("2026-03-28 22:00") == 23 * 3600.0


def test_the_days_and_the_zone_may_be_left_out() -> None:
    assert read_window("00:00-24:00").days == frozenset(range(7)) and read_window("1:00-2:00").zone == "UTC"
    assert read_window("sat,sun 1:00-2:00").days == {5, 6}
    assert read_window("FRI-MON 1:00-2:00").days == {4, 5, 6, 0}
    assert all(read_window("00:00-24:00").is_open(600.0 * n) for n in range(1000))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no time of day"),
        ("mon-fri", "no time of day"),
        ("mon-fri 22-5", "no time like"),
        ("mon-fri 22:00", "no time like"),
        ("mon-fri 25:00-05:00", "no time 25:00"),
        ("mon-fri 22:61-05:00", "no time 22:61"),
        ("22:00-22:00", "never open"),
        ("24:00-05:00", "never open"),
        ("mun-fri 22:00-05:00", "no day 'mun-fri'"),
        ("mon-fri 22:00-05:00 Europe/Atlantis", "no time zone 'Europe/Atlantis'"),
        ("mon-fri 22:00-05:00 ../../etc/passwd", "no time zone"),
        ("mon-fri 22:00-05:00 UTC and so on", "goes on after its time zone: 'and'"),
        ("<script> 22:00-05:00", "no day '<script>'"),
    ],
)
def test_what_is_no_window_says_which_part_is_wrong(text: str, words: str) -> None:
    with pytest.raises(InvalidConfig, match=words):
        read_window(text)


@given(st.text(max_size=60))
def test_no_text_does_anything_but_be_read_or_refused(text: str) -> None:
    with suppress(InvalidConfig):
        read_window(text)


@given(
    days=st.lists(st.sampled_from(_DAYS), min_size=1, unique=True),
    start=st.integers(0, 1439),
    length=st.integers(1, 1439),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
    at=st.integers(1_790_000_000, 1_830_000_000),
)
def test_a_window_opens_when_it_says_and_is_as_the_wall_clock_says(
    days: list[str], start: int, length: int, zone: str, at: int
) -> None:
    stop = (start + length) % 1440
    text = f"{','.join(days)} {start // 60:02}:{start % 60:02}-{stop // 60:02}:{stop % 60:02} {zone}"
    window = read_window(text)
    local = datetime.fromtimestamp(at, timezone.utc).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    since = [
        local - datetime.combine(local.date() - timedelta(days=ago), datetime.min.time()) - timedelta(minutes=start)
        for ago in (0, 1)
        if _DAYS[(local.date() - timedelta(days=ago)).weekday()] in days
    ]
    assert window.is_open(at) is any(timedelta(0) <= each < timedelta(minutes=length) for each in since)
    opens = window.opens_at(at)
    assert (opens == at) is window.is_open(at) and at <= opens <= at + 9 * 86_400
    assert (why_closed([text], at) == "") is window.is_open(at)


def test_several_windows_are_open_when_one_is_and_the_next_to_open_is_named() -> None:
    windows = ("mon 01:00-02:00 UTC", "wed 01:00-02:00 Europe/Berlin")
    assert why_closed((), 0.0) == ""
    assert why_closed(windows, _at("2026-11-30 01:30", "UTC")) == ""
    why = why_closed(windows, _at("2026-11-30 12:00", "UTC"))
    assert why == (
        "outside of its maintenance windows; 'wed 01:00-02:00 Europe/Berlin' opens Wed 2026-12-02 01:00 (Europe/Berlin)"
    )
