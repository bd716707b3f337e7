"""A kit brings another bundle than the one that a rollout ordered, under a higher number: what became of it stands in the books."""

from __future__ import annotations

import pytest

from cloud.rollout.rollout_states import MemberState, RolloutState
from contract.messages import ReportedState
from tests.cloud.test_rollout_loop import NEW, OLD, Plant
from tests.cloud.test_rollout_loop import plant as plant  # the fixture

OTHER = "c" * 64


def _says(plant: Plant, station: str, state: str, candidate: str, bundle: str, reason: str = "", seq: int = 0) -> int:
    """Say what the kit came to; return its number."""
    number = seq or plant.tables.rollouts.next_seq(station)
    report = ReportedState(station, "b1", plant.clock.now(), bundle, state, f"kit-{number}", candidate, reason, number)
    plant.clock.forward(1.0)
    plant.tables.stations.commit([], [report], plant.clock.now())
    return number


def _in_the_second_wave(plant: Plant) -> tuple[int, str]:
    """Have a rollout order a station that is not alone in its wave; return the rollout and it."""
    rollout = plant.loop.start("v2", (), "operator")
    for _ in range(30):
        plant.turns(1)
        plant.clock.forward(1.0)
        states = plant.states(rollout)
        others = [name for name, state in states.items() if state is MemberState.PLANNED]
        if MemberState.COMMITTED in states.values() and others:
            plant.fleet.mute.add(others[0])
            for _ in range(30):
                plant.turns(1)
                if plant.states(rollout)[others[0]] is MemberState.ORDERED:
                    return rollout, others[0]
    raise AssertionError(plant.states(rollout))


def test_it_is_out_with_its_reason_and_the_others_go_on(plant: Plant) -> None:
    rollout, station = _in_the_second_wave(plant)
    number = _says(plant, station, "COMMITTED", OTHER, OTHER)
    plant.turns(1)
    assert plant.states(rollout)[station] is MemberState.SKIPPED
    assert (
        plant.reason(station)
        == f"it follows a newer order, of a kit: kit-{number}, and runs another bundle: {OTHER[:12]}"
    )
    plant.clock.forward(61.0)  # silence_s is 60
    plant.turns(12)
    assert plant.rollout(rollout)[0] is RolloutState.DONE
    assert [m.state for m in plant.tables.rollouts.members(rollout) if m.station != station].count(
        MemberState.COMMITTED
    ) == len(plant.states(rollout)) - 1


def test_one_that_is_alone_in_its_wave_stops_the_rollout_and_says_why(plant: Plant) -> None:
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(1)
    number = _says(plant, "s1", "COMMITTED", OTHER, OTHER)
    plant.turns(1)
    assert f"kit-{number}, and runs another bundle" in plant.reason("s1")
    assert plant.rollout(rollout)[0] in (RolloutState.ABORTING, RolloutState.ABORTED)


def test_while_it_is_at_the_kit_it_is_not_silent(plant: Plant) -> None:
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(1)
    number = 0
    for _ in range(6):  # five minutes of a trial, of which it speaks
        number = _says(plant, "s1", "PROBATION", OTHER, OLD, seq=number)
        plant.clock.forward(50.0)
        plant.turns(1)
        assert plant.states(rollout)["s1"] is MemberState.ORDERED
    plant.clock.forward(61.0)
    plant.turns(1)
    assert plant.rollout(rollout)[0] is not RolloutState.RUNNING, "silent about both is silent"


@pytest.mark.parametrize(
    ("candidate", "said"), [(NEW, "rolled this bundle back"), (OTHER, f"bundle {OTHER[:12]} back")]
)
def test_a_kit_that_was_rolled_back_is_told_and_an_abort_fetches_the_station(
    plant: Plant, candidate: str, said: str
) -> None:
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(1)
    _says(plant, "s1", "ROLLED_BACK", candidate, OLD, reason="it says NaN")
    plant.turns(1)
    assert said in plant.reason("s1") and "it says NaN" in plant.reason("s1")
    assert plant.rollout(rollout)[0] is not RolloutState.RUNNING
    plant.fleet.mute.clear()
    plant.turns(6)
    standing = plant.tables.rollouts.standing("s1")
    assert standing is None or standing.bundle != NEW, "the order that it could still obey is no more"


def test_an_abort_leaves_a_kits_bundle_where_it_is(plant: Plant) -> None:
    rollout, station = _in_the_second_wave(plant)
    _says(plant, station, "COMMITTED", OTHER, OTHER)
    plant.fleet.running[station] = OTHER
    plant.turns(1)
    plant.loop.abort(rollout, "eva", "wrong lamp")
    plant.fleet.mute.clear()
    plant.turns(8)
    assert plant.states(rollout)[station] is MemberState.SKIPPED and plant.fleet.running[station] == OTHER
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED
