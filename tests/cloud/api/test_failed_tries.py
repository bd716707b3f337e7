"""Wrong tokens in the audit log: soon, and few entries."""

from __future__ import annotations

import pytest

from cloud.api.failed_tries import FailedTries
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_tables import Tables


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def told(tables: Tables) -> list[str]:
    return [each.detail for each in tables.audit.entries() if each.act == "sign-in failed"]


def test_the_first_is_told_at_once_and_thousands_more_in_one_entry(tables: Tables, clock: HandClock) -> None:
    tries = FailedTries(tables.audit, clock.now)
    tries.tick()
    for number in range(3000):
        tries.add(f"10.0.{number % 7}.1" if number else "10.9.9.9")
    assert told(tables) == ["1 wrong token from 10.9.9.9 (1)"]
    clock.forward(599.0)
    tries.tick()
    assert len(told(tables)) == 1
    clock.forward(1.0)
    tries.tick()
    tries.tick()
    assert len(told(tables)) == 2
    assert told(tables)[1].startswith("2999 wrong tokens from 10.0.1.1 (429), ") and told(tables)[1].endswith(
        " and 2 more"
    )


def test_more_addresses_than_can_be_remembered_are_counted_together(tables: Tables, clock: HandClock) -> None:
    tries = FailedTries(tables.audit, clock.now)
    for number in range(5000):
        tries.add(f"10.{number // 250}.{number % 250}.1")
    clock.forward(600.0)
    tries.tick()
    assert told(tables)[1].startswith("4999 wrong tokens from others (4743), ")


def test_a_clock_that_was_set_back_holds_nothing_up(tables: Tables, clock: HandClock) -> None:
    tries = FailedTries(tables.audit, clock.now)
    tries.add("a")
    clock.forward(-100_000.0)
    tries.add("b")
    assert len(told(tables)) == 2
