"""A station that is to decide a bundle unseen and runs it already, since a kit brought it meanwhile: neutral, and no failure."""

from __future__ import annotations

import pytest

from cloud.ports.rollouts import RolloutMember
from cloud.rollout.rollout_states import MemberState, RolloutState
from contract.messages import SHADOWED, Order, ReportedState
from tests.cloud.test_rollout_acts import NEW, OLD, Plant
from tests.cloud.test_rollout_acts import plant as plant  # the fixture

HAS_IT = "it runs this bundle already"


def _member(plant: Plant, rollout: int, station: str) -> RolloutMember:
    return next(m for m in plant.tables.rollouts.members(rollout) if m.station == station)


def _shadow_orders(plant: Plant) -> dict[str, Order]:
    return {order.station: order for order in plant.fleet.orders if order.probation.shadow_only}


def _kit(plant: Plant, station: str) -> None:
    """A kit brings NEW: its number is higher than that of every order so far."""
    numbers = [order.desired_seq for order in plant.fleet.orders if order.station == station]
    report = ReportedState(
        station, "b1", plant.clock.now(), NEW, "COMMITTED", "kit-1", NEW, "", max(numbers, default=0) + 1
    )
    plant.fleet.running[station] = NEW
    plant.tables.stations.commit([], [report], plant.clock.now())


def _ends(plant: Plant, order: Order, state: str, outcome: str = "") -> None:
    """A station that a kit gave NEW before it read `order` comes to an end with that order."""
    plant.fleet.running[order.station] = NEW
    report = ReportedState(
        order.station,
        "b1",
        plant.clock.now(),
        NEW,
        state,
        order.deployment,
        NEW,
        "",
        order.desired_seq,
        outcome=outcome,
    )
    plant.tables.stations.commit([], [report], plant.clock.now())


@pytest.mark.parametrize(("state", "outcome"), [("COMMITTED", ""), ("IDLE", SHADOWED)], ids=["as 0.2", "as now"])
def test_one_that_a_kit_gave_the_bundle_before_its_shadow_order_stops_nothing(
    plant: Plant, state: str, outcome: str
) -> None:
    plant.restart(shadow_stations=2)
    rollout = plant.loop.start("v2", (), "rosa")
    plant.fleet.mute.add("s1")
    plant.turns(1)
    _ends(plant, _shadow_orders(plant)["s1"], state, outcome)
    plant.fleet.mute.clear()
    plant.turns(1)
    member = _member(plant, rollout, "s1")
    assert member.state is MemberState.PLANNED and member.reason.startswith(HAS_IT)
    assert plant.evidence(rollout).waves[0].committed == 1, (
        "what it was not asked is no evidence: s2 alone has shown it"
    )
    plant.turns(16)
    assert plant.state(rollout) is RolloutState.DONE
    assert set(plant.states(rollout).values()) == {MemberState.COMMITTED}
    assert [o.probation.shadow_only for o in plant.fleet.orders if o.station == "s1"] == [True, False]
    shadow = plant.evidence(rollout).waves[0]
    assert (shadow.planned, shadow.committed) == (1, 1), (
        "its commit in its own wave is no word on what it showed unseen"
    )


def test_one_whose_kit_is_newer_than_its_shadow_order_is_not_silent(plant: Plant) -> None:
    """It refuses the older order, and says nothing of it ever."""
    plant.restart(shadow_stations=2)
    rollout = plant.loop.start("v2", (), "rosa")
    plant.fleet.mute.add("s1")
    plant.turns(1)
    _kit(plant, "s1")
    plant.clock.forward(61.0)  # the policy's silence_s is 60
    plant.turns(1)
    assert plant.states(rollout)["s1"] is MemberState.PLANNED and plant.state(rollout) is RolloutState.RUNNING
    plant.fleet.mute.clear()
    plant.turns(16)
    assert plant.state(rollout) is RolloutState.DONE


def test_one_that_runs_it_before_it_is_ordered_gets_no_shadow_order(plant: Plant) -> None:
    plant.restart(shadow_stations=2, approvals=1)
    rollout = plant.loop.start("v2", (), "rosa")
    _kit(plant, "s1")
    plant.loop.approve(rollout, "eva", True)
    plant.turns(18)
    assert _shadow_orders(plant).keys() == {"s2"} and plant.state(rollout) is RolloutState.DONE


def test_where_all_of_the_shadow_wave_have_it_the_canary_is_the_first_to_show_it(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "rosa", plan=plant.plan(shadow_stations=1, soak_s=1e9))
    plant.fleet.mute.add("s1")
    plant.turns(1)
    (order,) = _shadow_orders(plant).values()
    _ends(plant, order, "IDLE", SHADOWED)
    plant.fleet.mute.clear()
    plant.turns(4)
    assert plant.tables.rollouts.get(rollout).wave == 1
    assert plant.states(rollout)["s1"] is MemberState.COMMITTED, "the canary, which has it too"


def test_an_abort_takes_it_back_too(plant: Plant) -> None:
    """The kit brought what is known to be bad by then; what ran before it is known, since the order was made then."""
    plant.restart(shadow_stations=2)
    rollout = plant.loop.start("v2", (), "rosa")
    plant.fleet.mute.add("s1")
    plant.turns(1)
    _ends(plant, _shadow_orders(plant)["s1"], "IDLE", SHADOWED)
    plant.fleet.mute.clear()
    plant.turns(1)
    plant.loop.abort(rollout, "eva", "it passes cracked parts")
    plant.turns(4)
    assert plant.state(rollout) is RolloutState.ABORTED
    assert plant.states(rollout)["s1"] is MemberState.BACK and plant.fleet.running["s1"] == OLD
    never = [s for s, state in plant.states(rollout).items() if state is MemberState.SKIPPED]
    assert "s1" not in never and len(never) == 4
