"""Stations that were away when their rollout was aborted: it ends without them, and what becomes of each is said in the end."""

from __future__ import annotations

import pytest

from cloud.dashboard.rollouts_view import rollout_view, why_in_words
from cloud.facts import Facts, RolloutFact
from cloud.needs import needs
from cloud.ports.rollouts import Rollout, RolloutMember
from cloud.rollout.rollout_states import MemberState, RolloutState
from cloud.store.certificates import Certificates
from cloud.store.rollout_reading import RolloutReading, Wanted
from contract.messages import ReportedState
from tests.cloud.test_rollout_loop import NEW, OLD, Plant
from tests.cloud.test_rollout_loop import plant as plant  # the fixture

LATE_S = 31.0
"""Who was away is asked after every half minute."""


def _aborted_while_s2_is_away(plant: Plant) -> int:
    """s1 and s2 run NEW; s2 goes, and then somebody aborts: s1 is back, s2 has a way back that it cannot have heard."""
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(4)
    assert plant.states(rollout)["s2"] is MemberState.COMMITTED
    plant.fleet.go("s2")
    plant.fleet.mute.add("s2")
    plant.loop.abort(rollout, "eva", "it passes cracked parts")
    plant.turns(6)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED
    assert plant.states(rollout)["s1"] is MemberState.BACK and plant.states(rollout)["s2"] is MemberState.RECALLED
    return rollout


def _member(plant: Plant, station: str) -> RolloutMember:
    return next(m for m in plant.tables.rollouts.members(1) if m.station == station)


def _later(plant: Plant) -> None:
    plant.clock.forward(LATE_S)
    plant.loop.tick()


def _comes_and_obeys(plant: Plant, station: str) -> None:
    standing = plant.tables.rollouts.standing(station)
    assert standing is not None and standing.facts is not None
    plant.fleet.come(station)
    plant.fleet.running[station] = standing.bundle
    order = standing.facts
    report = ReportedState(
        station,
        "b1",
        plant.clock.now(),
        order.bundle,
        "COMMITTED",
        order.deployment,
        order.bundle,
        "",
        order.desired_seq,
    )
    plant.tables.stations.commit([], [report], plant.clock.now())


def test_one_that_returns_and_goes_back_is_said_to_be_back(plant: Plant) -> None:
    rollout = _aborted_while_s2_is_away(plant)
    _later(plant)
    assert plant.states(rollout)["s2"] is MemberState.RECALLED, "it has not been heard"
    _comes_and_obeys(plant, "s2")
    _later(plant)
    assert plant.states(rollout)["s2"] is MemberState.BACK and plant.fleet.running["s2"] == OLD
    assert plant.tables.rollouts.late() == [], "nobody is waited for any more"
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED and plant.tables.audit.first_broken() is None


def test_one_that_is_away_is_said_to_be_away_and_not_to_be_back(plant: Plant) -> None:
    rollout = _aborted_while_s2_is_away(plant)
    reading = RolloutReading(plant.tables.database)
    view = rollout_view(reading, plant.tables.rollouts.approvals, reading.one(rollout))
    away = "1 station was away and is not back yet: it goes back when it returns"
    assert view.sentence == f"it passes cracked parts ({away})"
    (seen,), _ = reading.stations(rollout, Wanted(text="s2"), 0, 9)
    assert why_in_words(seen) == "it is away, and goes back when it returns" and not seen.online
    _comes_and_obeys(plant, "s2")
    _later(plant)
    assert (
        rollout_view(reading, plant.tables.rollouts.approvals, reading.one(rollout)).sentence
        == "it passes cracked parts"
    )


@pytest.mark.parametrize(
    ("recalled", "said"),
    [
        (0, "its stations are back: it broke"),
        (1, "its stations are back but for 1 station that was away and goes back when it returns: it broke"),
        (7, "its stations are back but for 7 stations that were away and go back when they return: it broke"),
    ],
)
def test_people_are_not_told_that_all_are_back_while_one_is_not(recalled: int, said: str) -> None:
    over = Rollout(1, "v2", NEW, RolloutState.ABORTED, 0, 0.0, (), "it broke", 0.0, 9.0)
    (need,) = needs(Facts(now=10.0, rollouts=(RolloutFact(over, by_itself=True, recalled=recalled),)))
    assert need.what == f"Rollout 1 of v2 stopped itself, and {said}"


def test_one_that_returns_and_turns_its_way_back_down_is_ordered_anew(plant: Plant) -> None:
    rollout = _aborted_while_s2_is_away(plant)
    first = plant.deployment("s2", rollout)
    plant.fleet.come("s2")
    report = ReportedState(
        "s2",
        "b1",
        plant.clock.now(),
        NEW,
        "ROLLED_BACK",
        first,
        OLD,
        "it hung",
        plant.tables.rollouts.next_seq("s2") - 1,
    )
    plant.tables.stations.commit([], [report], plant.clock.now())
    _later(plant)
    assert plant.states(rollout)["s2"] is MemberState.RECALLED and plant.deployment("s2", rollout) == f"{first}2"
    _comes_and_obeys(plant, "s2")
    _later(plant)
    assert plant.states(rollout)["s2"] is MemberState.BACK


def test_a_newer_order_ends_the_wait_and_is_not_replaced(plant: Plant) -> None:
    """The next rollout orders it: whatever it says of the old way back from then on concerns nobody."""
    rollout = _aborted_while_s2_is_away(plant)
    first = plant.deployment("s2", rollout)
    plant.loop.roll_back("v2", "operator", "it was the lamp")
    plant.clock.forward(1.0)
    plant.loop.tick()
    plant.loop.tick()
    newest = plant.tables.rollouts.standing("s2")
    report = ReportedState("s2", "b1", plant.clock.now(), NEW, "ROLLED_BACK", first, OLD, "it hung", 2)
    plant.tables.stations.commit([], [report], plant.clock.now())
    _later(plant)
    member = _member(plant, "s2")
    assert member.state is MemberState.SKIPPED and "a newer order took the place of this one: r2-" in member.reason
    assert plant.tables.rollouts.standing("s2") == newest


def test_one_that_a_kit_gave_a_newer_order_is_waited_for_no_more(plant: Plant) -> None:
    rollout = _aborted_while_s2_is_away(plant)
    plant.fleet.come("s2")
    seq = plant.tables.rollouts.next_seq("s2") + 1
    report = ReportedState("s2", "b1", plant.clock.now(), "c" * 64, "COMMITTED", "kit-9", "c" * 64, "", seq)
    plant.tables.stations.commit([], [report], plant.clock.now())
    _later(plant)
    assert plant.states(rollout)["s2"] is MemberState.SKIPPED
    assert "it follows a newer order, of a kit: kit-9" in _member(plant, "s2").reason


def test_one_whose_access_was_taken_away_is_waited_for_no_more(plant: Plant) -> None:
    rollout = _aborted_while_s2_is_away(plant)
    Certificates(plant.tables.database).revoke("s2", "stolen", now=plant.clock.now())
    _later(plant)
    assert plant.states(rollout)["s2"] is MemberState.SKIPPED
    assert _member(plant, "s2").reason.endswith("its access was taken away: what it runs is not known")
    assert plant.tables.rollouts.late() == []


def test_one_that_follows_a_kit_holds_up_no_abort(plant: Plant) -> None:
    """It is here, and refuses the older order: the abort would wait for it until somebody noticed."""
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(4)
    plant.fleet.mute.add("s1")
    plant.loop.abort(rollout, "eva", "it passes cracked parts")
    plant.turns(2)
    assert plant.states(rollout)["s1"] is MemberState.RECALLED
    seq = plant.tables.rollouts.next_seq("s1") + 1
    report = ReportedState("s1", "b1", plant.clock.now(), "c" * 64, "COMMITTED", "kit-9", "c" * 64, "", seq)
    plant.tables.stations.commit([], [report], plant.clock.now())
    plant.turns(2)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED and plant.states(rollout)["s1"] is MemberState.SKIPPED


def test_one_that_was_away_as_its_rollout_was_done_is_let_go_by_a_newer_order(plant: Plant) -> None:
    plant.fleet.go("s4")
    plant.fleet.mute.add("s4")
    rollout = plant.loop.start("v2", (), "operator")
    for _ in range(3):
        plant.turns(8)
        plant.clock.forward(3600.0)
    plant.turns(8)
    assert plant.rollout(rollout)[0] is RolloutState.DONE and plant.states(rollout)["s4"] is MemberState.ORDERED
    plant.loop.stop_station("s4", "eva", "smoke")
    _later(plant)
    assert plant.states(rollout)["s4"] is MemberState.SKIPPED
    assert "a newer order took the place of this one: stop-" in _member(plant, "s4").reason
