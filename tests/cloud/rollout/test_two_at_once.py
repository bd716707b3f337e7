"""What people do while the loop is in the middle of a step, or another person does the same: one word counts, and it is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

import cloud.store.rollouts as store
from cloud.ports.rollouts import StandingOrder
from cloud.rollout.judge import RolloutPolicy
from cloud.rollout.plan import read_plan
from cloud.rollout.rollout_states import LIVE, MemberEvent, MemberState, RolloutEvent, RolloutState
from cloud.rollout_loop import RolloutSettings
from contract.errors import IllegalTransition, PlumblineError, RefusedError
from contract.messages import Order, StationState
from tests.cloud.test_rollout_acts import NEW, OLD, STATIONS, Plant
from tests.cloud.test_rollout_acts import plant as plant  # the fixture
from tests.fakes.cloud_fleet import PlainSigner
from tests.fakes.cloud_tables import Tables, open_tables


class MeddlingSigner(PlainSigner):
    """Does something once, just before the order `before` (1, 2, ...) is signed."""

    def __init__(self, before: int, act: Callable[[], object]) -> None:
        self._left, self._act = before, act

    def sign(self, order: Order) -> str:
        self._left -= 1
        if self._left == 0:
            self._act()
        return super().sign(order)


def _meddle(plant: Plant, before: int, act: Callable[[], object]) -> None:
    plant.loop._orders._signer = MeddlingSigner(before, act)


@pytest.mark.parametrize("act", ["pause", "abort"])
def test_whoever_was_told_that_nobody_is_ordered_any_more_was_told_the_truth(plant: Plant, act: str) -> None:
    """Between two orders of one tick: the second one was signed already, and must not go out."""
    rollout = plant.loop.start("v2", (), "rosa", plan=plant.plan(canary=4))
    _meddle(plant, 2, lambda: getattr(plant.loop, act)(rollout, "eva", "smoke"))
    plant.clock.forward(1.0)
    plant.loop.tick()
    states = list(plant.states(rollout).values())
    assert states.count(MemberState.ORDERED) == 1 and states.count(MemberState.PLANNED) == 5
    plant.fleet.obey()
    plant.turns(4)
    assert len(plant.ordered()) == 1
    if act == "pause":
        plant.loop.resume(rollout, "eva")
        plant.turns()
        assert plant.state(rollout) is RolloutState.DONE
    else:
        assert plant.state(rollout) is RolloutState.ABORTED and set(plant.fleet.running.values()) == {OLD}


def test_a_station_that_is_stopped_in_the_middle_of_a_tick_costs_no_fault(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "rosa", plan=plant.plan(canary=4))
    _meddle(plant, 2, lambda: plant.loop.stop_station("s4", "eva", "smoke"))
    plant.turns()
    assert plant.state(rollout) is RolloutState.DONE and plant.fleet.running["s4"] == ""


def test_an_abort_that_meets_the_next_wave_stops_that_one(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = plant.loop.start("v2", (), "rosa")
    plant.turns(2)
    step = type(plant.tables.rollouts).step

    def after_the_loop(*args: object, **more: object) -> None:
        monkeypatch.undo()
        book = plant.tables.rollouts
        book.advance(book.get(rollout), plant.clock.now())
        step(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(plant.tables.rollouts), "step", after_the_loop)
    plant.loop.abort(rollout, "eva", "smoke")
    assert plant.state(rollout) is RolloutState.ABORTING
    with pytest.raises(IllegalTransition):
        plant.loop.abort(rollout, "eva", "again")
    plant.turns(3)
    assert set(plant.fleet.running.values()) == {OLD}


def test_a_no_that_comes_as_the_last_approval_is_counted_holds_the_rollout(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = plant.loop.start("v2", (), "rosa", plan=plant.plan(approvals=1))
    plant.loop.approve(rollout, "eva", True)
    step = type(plant.tables.rollouts).step

    def declined_first(*args: object, **more: object) -> None:
        monkeypatch.undo()
        plant.loop.approve(rollout, "tom", False, "the lens is dirty")
        step(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(plant.tables.rollouts), "step", declined_first)
    with pytest.raises(IllegalTransition, match="declined by tom"):
        plant.turns(1)
    plant.turns(3)
    assert plant.state(rollout) is RolloutState.PROPOSED and plant.ordered() == []
    assert plant.hold(rollout) == "declined by tom: the lens is dirty"
    plant.loop.approve(rollout, "tom", True, "it was cleaned")
    plant.turns()
    assert plant.state(rollout) is RolloutState.DONE


def test_of_two_who_conclude_at_once_the_second_is_told(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = plant.loop.start_ab("v2", 0.5, "rosa", until=plant.clock.now() + 1e6)
    plant.turns()
    replan = type(plant.tables.rollouts).replan

    def the_other_first(*args: object, **more: object) -> None:
        monkeypatch.undo()
        plant.loop.conclude_ab(rollout, "a", "tom", "no better")
        replan(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(plant.tables.rollouts), "replan", the_other_first)
    with pytest.raises(IllegalTransition, match="moved on"):
        plant.loop.conclude_ab(rollout, "b", "eva", "better")
    assert read_plan(plant.tables.rollouts.get(rollout).plan).keep == "a"
    plant.turns()
    assert plant.state(rollout) is RolloutState.ABORTED and set(plant.fleet.running.values()) == {OLD}


def test_who_concludes_as_the_time_ends_gets_what_they_were_told(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = plant.loop.start_ab("v2", 0.5, "rosa", until=plant.clock.now() + 100.0)
    plant.turns()
    step = type(plant.tables.rollouts).step

    def concluded_first(*args: object, **more: object) -> None:
        monkeypatch.undo()
        plant.loop.conclude_ab(rollout, "b", "eva", "better")
        step(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(plant.tables.rollouts), "step", concluded_first)
    plant.clock.forward(100.0)
    with pytest.raises(IllegalTransition, match="moved on"):
        plant.loop.tick()
    plant.turns()
    assert plant.state(rollout) is RolloutState.DONE and set(plant.fleet.running.values()) == {NEW}


@pytest.fixture
def shared(database_url: str) -> Iterator[Tables]:
    tables = open_tables(database_url)
    yield tables
    tables.database.close()


def test_of_two_who_start_at_once_one_is_refused(shared: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = store.write_audit

    def slowly(*args: object) -> None:
        time.sleep(0.5)  # inside the transaction: the other has all the time to look
        plain(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "write_audit", slowly)
    answers: list[str] = []
    both = threading.Barrier(2)

    def start(version: str, bundle: str) -> None:
        both.wait()
        try:
            shared.rollouts.create(version, bundle, [["s1"]], (), version, 1.0)
            answers.append("started")
        except RefusedError as error:
            answers.append(error.message)

    threads = [threading.Thread(target=start, args=args) for args in (("v1", OLD), ("v2", NEW))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["rollout 1 is still under way", "started"]
    assert len([each for each in shared.rollouts.all() if each.state in LIVE]) == 1


def test_a_pause_waits_for_the_order_that_is_being_stored_and_then_holds(shared: Tables) -> None:
    """On either engine: an order is stored before the pause was answered, or not at all."""
    names = [f"s{n}" for n in range(40)]
    for name in names:
        shared.stations.add(name, f"token of {name}", "", 0.0)
    rollout = shared.rollouts.create("v2", NEW, [names], (), "rosa", 1.0)
    paused = threading.Event()
    late: list[str] = []

    def order() -> None:
        for member in shared.rollouts.members(rollout):
            before = paused.is_set()
            standing = StandingOrder(member.station, 1, NEW, "signed", published=False)
            try:
                shared.rollouts.order(member, MemberEvent.ORDER, standing, OLD, 1.0)
            except PlumblineError:
                return
            if before:
                late.append(member.station)

    thread = threading.Thread(target=order)
    thread.start()
    time.sleep(0.02)
    shared.rollouts.step(shared.rollouts.get(rollout), RolloutEvent.PAUSE, "eva", "", 2.0)
    paused.set()
    thread.join()
    assert late == []


def test_stopping_the_canary_by_hand_stops_the_rollout(plant: Plant) -> None:
    """What a person does when the canary smokes: nobody else may get what it had."""
    rollout = plant.loop.start("v2", (), "rosa", plan=plant.plan(soak_s=50.0))
    plant.turns(3)
    (canary,) = plant.ordered()
    assert plant.states(rollout)[canary] is MemberState.COMMITTED
    plant.loop.stop_station(canary, "eva", "smoke")
    plant.turns(60)
    assert plant.ordered() == [canary] and plant.state(rollout) is RolloutState.ABORTED
    assert plant.tables.rollouts.get(rollout).reason == (
        f"nobody is left to show what it does: {canary} taken out of it by hand"
    )
    assert plant.fleet.running[canary] == "", "it stays stopped"


def test_stopping_everybody_makes_no_champion(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "rosa", plan=plant.plan(soak_s=50.0))
    plant.turns(70)
    for station in STATIONS:
        plant.loop.stop_station(station, "eva", "smoke")
    plant.turns(3)
    assert plant.state(rollout) is RolloutState.ABORTED and plant.stages.champion == ""


def test_an_ab_rollout_orders_nobody_while_a_budget_is_spent(plant: Plant) -> None:
    plant.held.append("the budget of decisions is spent")
    rollout = plant.loop.start_ab("v2", 0.5, "rosa", until=plant.clock.now() + 1e6)
    plant.turns(4)
    assert plant.ordered() == [] and plant.hold(rollout) == "the budget of decisions is spent"
    plant.held.clear()
    plant.turns()
    assert len(plant.ordered()) == 3


def test_a_version_that_is_retired_as_it_reaches_everybody_stops_no_later_tick(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(version: str, actor: str, now: float) -> None:
        raise IllegalTransition(f"a version that is RETIRED cannot 'reached everybody' ({version})")

    monkeypatch.setattr(plant.stages, "rolled_out", refused)
    rollout = plant.loop.start("v2", (), "rosa")
    plant.turns(20)
    assert plant.state(rollout) is RolloutState.DONE and plant.stages.champion == ""
    assert plant.evidence(rollout).told


def test_a_rollout_of_before_there_were_plans_goes_on_by_the_settings(plant: Plant) -> None:
    """A server is replaced by a newer one in the middle: what cloud.toml says of silence still holds."""
    patient = RolloutPolicy(silence_s=5000.0, offline_wait_s=100.0)
    plant.settings = RolloutSettings(wave_shares=(0.5,), policy=patient)
    plant.restart()
    rollout = plant.tables.rollouts.create(
        "v2", NEW, [["s1"], list(STATIONS[1:])], (), "rosa", plant.clock.now()
    )  # as an older server left it: plan and evidence are '{}'
    plant.fleet.mute.add("s1")
    for _ in range(30):
        plant.clock.forward(100.0)
        plant.loop.tick()
        plant.fleet.obey()
    assert plant.state(rollout) is RolloutState.RUNNING, "3,000 s of silence are less than 5,000"
    for _ in range(30):
        plant.clock.forward(100.0)
        plant.loop.tick()
        plant.fleet.obey()
    assert plant.state(rollout) in (RolloutState.ABORTING, RolloutState.ABORTED)


def test_an_order_to_decide_unseen_that_was_obeyed_is_not_signed_anew(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "rosa", plan=plant.plan(shadow_stations=1, soak_s=1e9))
    plant.turns(4)
    (shown,) = [s for s, state in plant.states(rollout).items() if state is MemberState.SHADOWED]
    seq = plant.tables.rollouts.standing(shown).desired_seq  # type: ignore[union-attr]
    plant.fleet.go(shown)
    plant.clock.forward(20 * 86_400.0)
    plant.turns(2)
    standing = plant.tables.rollouts.standing(shown)
    assert standing is not None and standing.desired_seq == seq, "it would decide unseen once more, for nobody"


def test_a_clock_that_is_set_back_stops_no_renewal(plant: Plant) -> None:
    plant.fleet.mute.update(STATIONS)
    plant.fleet.go(*STATIONS)
    plant.loop.start("v2", (), "rosa")
    plant.turns(2)
    plant.clock.forward(20 * 86_400.0)
    plant.loop.tick()
    plant.clock.forward(-3600.0)
    plant.loop.tick()
    assert plant.loop._renewal._looked_at == plant.clock.now(), "it looks at once, not in an hour"


def test_an_agent_that_was_put_back_meanwhile_never_gets_an_order_to_decide_unseen(plant: Plant) -> None:
    """It would ignore what the order says of that, and put the bundle in charge."""
    plan = plant.plan(shadow_stations=2, approvals=1)
    rollout = plant.loop.start("v2", (), "rosa", plan=plan)
    one, two = read_plan(plant.tables.rollouts.get(rollout).plan).shadow
    birth = StationState(one, "b1", True, plant.clock.now(), agent_version="0.1.9")
    plant.tables.stations.commit([birth], [], plant.clock.now())
    plant.loop.approve(rollout, "eva", True)
    plant.turns(14)
    unseen = [order.station for order in plant.fleet.orders if order.probation.shadow_only]
    assert unseen == [two] and plant.state(rollout) is RolloutState.DONE
    assert plant.evidence(rollout).waves[0].planned == 1


def test_a_comparison_that_nobody_approved_yet_is_not_turned_into_a_rollout(plant: Plant) -> None:
    plant.restart(approvals=1)
    rollout = plant.loop.start_ab("v2", 0.2, "rosa", until=plant.clock.now() + 1e6)
    with pytest.raises(RefusedError, match="has not begun: it waits for approvals"):
        plant.loop.conclude_ab(rollout, "b", "rosa", "better")
    plant.loop.approve(rollout, "eva", True)
    plant.turns(20)
    assert plant.state(rollout) is RolloutState.RUNNING and len(plant.ordered()) == 1
