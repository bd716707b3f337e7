"""Rollouts read by the page and counted, on both engines."""

from __future__ import annotations

import pytest

from cloud.ports.rollouts import StandingOrder
from cloud.rollout.rollout_states import MemberEvent, MemberState, RolloutEvent
from cloud.rollout.waves_shown import Counted
from cloud.store.rollout_reading import RolloutReading, Wanted
from contract.errors import NotFound
from contract.messages import ReportedState, StationState
from tests.fakes.cloud_tables import T0, Tables

WAVES = [["s1"], ["s2", "s3"], ["line_4", "s5"]]


@pytest.fixture
def reading(tables: Tables) -> RolloutReading:
    """Rollout 1: s1 committed, s2 is ordered and downloads, s3 is ordered and away, the others are planned."""
    tables.add_online("s1", "s2", "s3", "line_4", "s5")
    book = tables.rollouts
    book.create("v2", "b" * 64, WAVES, (), "anna", T0)
    for number, member in enumerate(book.members(1)[:3]):
        order = StandingOrder(member.station, 1, "b" * 64, "{}", False)
        book.order(member, MemberEvent.ORDER, order, "", T0 + number)
    book.step_member(book.members(1)[0], MemberEvent.COMMIT, "", T0 + 9)
    deployment = next(m.deployment for m in book.members(1) if m.station == "s2")
    said = [
        ReportedState("s2", "b1", T0, "", "DOWNLOAD", deployment, reason="the server is away; tries again"),
        ReportedState("s3", "b1", T0, "", "ROLLED_BACK", "of another rollout", reason="it crashed"),
    ]
    tables.stations.commit([StationState("s3", "b1", False, T0)], said, T0)
    return RolloutReading(tables.database)


def test_stations_are_counted_by_wave_and_state_and_who_is_away(reading: RolloutReading) -> None:
    assert reading.counts([1, 7]) == {
        1: [
            Counted(0, MemberState.COMMITTED, 1, 0),
            Counted(1, MemberState.ORDERED, 2, 1),
            Counted(2, MemberState.PLANNED, 2, 0),
        ],
        7: [],
    }
    assert reading.counts([]) == {}


def test_stations_come_by_the_page_with_what_they_say_of_this_order_and_of_no_other(reading: RolloutReading) -> None:
    found, total = reading.stations(1, Wanted(), 1, 2)
    assert total == 5 and [(s.member.station, s.online, s.said) for s in found] == [
        ("s2", True, "the server is away; tries again"), ("s3", False, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Wanted(states=(MemberState.PLANNED, MemberState.COMMITTED)), ["s1", "line_4", "s5"]),
        (Wanted(wave=1), ["s2", "s3"]),
        (Wanted(text="LINE_"), ["line_4"]),
        (Wanted(text="e%4"), []),
        (Wanted(sort="station"), ["line_4", "s1", "s2", "s3", "s5"]),
        (Wanted(wave=1, sort="station", descending=True), ["s3", "s2"]),
        (Wanted(states=(MemberState.FAILED,)), []),
    ],
)
def test_stations_are_found_and_sorted(reading: RolloutReading, wanted: Wanted, names: list[str]) -> None:
    found, total = reading.stations(1, wanted, 0, 10)
    assert [s.member.station for s in found] == names and total == len(names)


def test_the_one_under_way_and_those_before_it(reading: RolloutReading, tables: Tables) -> None:
    assert reading.under_way() == reading.one(1) == tables.rollouts.get(1)
    tables.rollouts.step(reading.one(1), RolloutEvent.ABORT, "anna", "wrong lamp", T0 + 20)
    assert reading.under_way() is not None
    tables.rollouts.step(reading.one(1), RolloutEvent.ALL_BACK, "plumbline", "", T0 + 30)
    assert reading.under_way() is None
    tables.rollouts.create("v3", "c" * 64, WAVES[:1], (), "anna", T0 + 40)
    assert [r.id for r in reading.newest(5)] == [2, 1] and [r.id for r in reading.newest(5, before=2)] == [1]
    with pytest.raises(NotFound):
        reading.one(3)


def test_the_timeline_is_of_this_rollout_alone(reading: RolloutReading, tables: Tables) -> None:
    tables.audit.append(T0, "bert", "pause", "rollout 11 (v9): lunch")
    tables.rollouts.step(reading.one(1), RolloutEvent.ABORT, "anna", "wrong lamp", T0 + 20)
    (said, *_) = reading.timeline(1)
    assert (said.actor, said.act) == ("anna", "abort") and "wrong lamp" in said.detail
    assert all("11" not in each.detail for each in reading.timeline(1))
