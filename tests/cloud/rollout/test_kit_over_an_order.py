"""A kit brings the very bundle that a rollout ordered, under a higher number: the station refuses the older order in silence."""

from __future__ import annotations

from cloud.rollout.rollout_states import MemberState, RolloutState
from contract.messages import ReportedState
from tests.cloud.test_rollout_loop import NEW, OLD, Plant
from tests.cloud.test_rollout_loop import plant as plant  # the fixture


def _kit(plant: Plant, station: str, bundle: str) -> None:
    report = ReportedState(
        station,
        "b1",
        plant.clock.now(),
        bundle,
        "COMMITTED",
        "kit-1",
        bundle,
        "",
        plant.tables.rollouts.next_seq(station),
    )
    plant.fleet.running[station] = bundle
    plant.tables.stations.commit([], [report], plant.clock.now())


def test_it_counts_as_committed_and_not_as_silent(plant: Plant) -> None:
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(1)
    plant.clock.forward(1.0)
    _kit(plant, "s1", NEW)
    plant.clock.forward(61.0)  # silence_s is 60
    plant.turns(1)
    assert plant.states(rollout)["s1"] is MemberState.COMMITTED
    assert plant.reason("s1") == "it follows a newer order, of a kit: kit-1"
    plant.turns(12)
    assert plant.rollout(rollout)[0] is RolloutState.DONE


def test_an_abort_takes_it_back(plant: Plant) -> None:
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(1)
    plant.clock.forward(1.0)
    _kit(plant, "s1", NEW)
    plant.turns(1)
    plant.fleet.mute.clear()
    plant.loop.abort(rollout, "eva", "wrong lamp")
    plant.turns(4)
    assert plant.states(rollout)["s1"] is MemberState.BACK and plant.fleet.running["s1"] == OLD


def test_what_it_said_of_an_earlier_rollout_is_no_word_on_this_one(plant: Plant) -> None:
    """It runs the bundle already, and has yet to say what it makes of the new order."""
    plant.loop.start("v2", (), "operator")
    plant.turns(12)
    plant.fleet.mute.add("s1")
    again = plant.loop.start("v2", (), "operator")
    plant.turns(1)
    retained = next(s for s in plant.tables.stations.status() if s.station == "s1")
    report = ReportedState(
        "s1", "b1", plant.clock.now(), NEW, "COMMITTED", retained.deployment, NEW, "", retained.desired_seq
    )
    plant.clock.forward(1.0)
    plant.tables.stations.commit([], [report], plant.clock.now())  # the broker tells what it retains once more
    plant.turns(1)
    assert plant.states(again)["s1"] is MemberState.ORDERED
