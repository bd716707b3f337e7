"""The journal stays readable under repeated faults, and a home has one agent."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from agent.health.clock_sync import clock_synced
from agent.health.home_lock import HomeLock, is_locked
from agent.health.log import StderrLog
from contract.errors import InvalidConfig
from tests.fakes.agent_clock import HandClock


def test_a_repeated_fault_is_one_line_and_a_count() -> None:
    stream, clock = io.StringIO(), HandClock()
    log = StderrLog(stream, clock, name="s1", quiet_s=30.0)
    for _ in range(100):
        log.fault("link", "the broker\nis gone")
    log.fault("disk", "full")
    clock.forward(31)
    log.fault("link", "the broker is gone")
    lines = [line.split(" ", 2)[2] for line in stream.getvalue().splitlines()]
    assert lines == ["the broker is gone", "full", "the broker is gone (99 more times since)"]


def test_a_closed_journal_stops_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    StderrLog(stream, HandClock(), name="s1").say("anyone?")


def test_a_home_has_one_agent_until_it_lets_go(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    lock = HomeLock(tmp_path / "home")
    assert is_locked(tmp_path / "home")
    with pytest.raises(InvalidConfig, match="another agent"):
        HomeLock(tmp_path / "home")
    lock.release()
    assert not is_locked(tmp_path / "home")
    HomeLock(tmp_path / "home").release()


def test_a_home_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidConfig, match="cannot be used as home"):
        HomeLock(tmp_path / "file")


def test_a_clock_in_1970_is_never_synced() -> None:
    assert clock_synced(0.0) is False
