"""Expiry gates what is accepted, by a time that a wrong clock neither revives nor raises anything with (OTA-1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from repository import DAY, NOW, ROLES, Repository, Station, at, lay_out, versions
from update_plant import Plant, plant

from agent.update.floors import BUILT_AT
from contract.errors import BadBundle, PlumblineError, TransientError

IN_2030 = 1_893_456_000.0


def authenticated(station: Station, when: float) -> None:
    station.floors.write(msgspec.structs.replace(station.floors.read(), time=when))


def test_a_clock_at_1970_neither_revives_expired_metadata_nor_blocks_valid_one(
    repo: Repository, station: Station
) -> None:
    authenticated(station, NOW)
    assert versions(station.refresh(repo, 0.0)) == (1, 1, 1, 1)
    authenticated(station, NOW + 31 * DAY)
    with pytest.raises(
        TransientError, match="the last authenticated time: this station's clock stands there or before"
    ):
        station.refresh(repo, 0.0)


def test_a_clock_one_month_back_revives_nothing_that_expired_since(repo: Repository, station: Station) -> None:
    repo.timestamp.expires = at(NOW - 3 * DAY)
    repo.publish("timestamp")
    authenticated(station, NOW)
    with pytest.raises(TransientError, match="expired"):
        station.refresh(repo, NOW - 30 * DAY)


def test_a_station_that_never_heard_a_time_judges_by_its_release_at_least(repo: Repository, station: Station) -> None:
    for role in ROLES:
        repo.signed(role).expires = at(BUILT_AT - DAY)
    repo.publish(*ROLES)
    with pytest.raises(TransientError, match="expired"):
        station.refresh(repo, 0.0)


@pytest.mark.parametrize("role", ROLES)
def test_a_clock_in_2030_is_named_as_suspect_raises_no_floor_and_mends_by_itself(
    repo: Repository, station: Station, role: str
) -> None:
    for name in ROLES:
        repo.signed(name).expires = at(IN_2030 + (DAY if name != role else -DAY))
    repo.publish(*ROLES)
    authenticated(station, NOW)
    station.refresh(repo)
    floors, before = station.floors.read(), station.files()
    with pytest.raises(TransientError) as caught:
        station.refresh(repo, IN_2030)
    said = caught.value.one_line()
    days = (IN_2030 - NOW) / DAY
    assert f"by a time of 2030-01-01 00:00 UTC, {days:,.1f} days after the last authenticated time, 2026-11-20" in said
    assert "check this station's clock" in said and f"{role}" in said
    assert station.floors.read() == floors and station.files() == before
    repo.everything()
    assert versions(station.refresh(repo, NOW + DAY)) == (2, 3, 3, 3)
    assert station.floors.read().time == NOW


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(-1e12, 1e12) | st.sampled_from([0.0, 1e18, -1e18]), max_size=3))
def test_no_clock_however_wrong_leaves_a_trace(
    repo: Repository, station: Station, tmp_path: Path, clocks: list[float]
) -> None:
    station.kit = lay_out(repo, tmp_path / "kit")
    authenticated(station, NOW)
    for clock in clocks:
        try:
            station.refresh(repo, clock)
        except PlumblineError as error:
            assert isinstance(error, TransientError) and not isinstance(error, BadBundle)
    assert station.floors.read().time == NOW
    assert versions(station.refresh(repo)) == (1, 1, 1, 1)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path) as made:
        yield made


def test_an_update_under_way_when_the_clock_leaps_to_2030_waits_and_goes_on_when_it_is_right(here: Plant) -> None:
    released = here.release("1")
    loop = here.loop()
    here.send(here.order(released))
    loop.tick(1.0)
    here.clock.at = IN_2030
    for _ in range(50):
        loop.tick(1.0)
        here.clock.sleep(60.0)
    said = here.report.said[-1]
    assert said.update_state == "META" and re.search(r"2030-01-01 .* days after the last authenticated", said.reason)
    assert here.floors().read().time == BUILT_AT, "no floor rises from a clock, nor from an order alone"
    here.clock.at = NOW
    assert here.settle(loop, ticks=4000).bundle == released.digest
    assert here.floors().read().time == NOW
