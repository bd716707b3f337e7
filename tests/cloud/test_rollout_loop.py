"""Rollouts over a real database: orders go out in waves, reports come back, a bad release stops itself (P7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloud.registry.keys import init_keys
from cloud.registry.orders import KeyedOrderSigner
from cloud.rollout.judge import RolloutPolicy
from cloud.rollout.rollout_states import MemberState, RolloutState
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from contract.errors import IllegalTransition, NotFound, RefusedError
from contract.messages import ReportedState
from contract.signature import verify_order
from contract.topics import Channel, topic
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases, ObedientFleet, PlainSigner, read_plain
from tests.fakes.cloud_tables import Tables
from tests.fakes.link import RecordingLink

OLD, NEW = "a" * 64, "b" * 64
STATIONS = ("s1", "s2", "s3", "s4")


@dataclass
class Plant:
    """Four stations that run OLD, and the loop that will bring them NEW in waves of 1, 1 and 2."""

    tables: Tables
    clock: HandClock
    link: RecordingLink
    fleet: ObedientFleet
    releases: FakeReleases
    loop: RolloutLoop

    def restart(self) -> None:
        self.loop = _loop(self.tables, self.releases, self.link, self.clock)

    def turns(self, count: int = 12) -> None:
        for _ in range(count):
            self.clock.forward(1.0)
            self.loop.tick()
            self.fleet.obey()

    def ordered(self, bundle: str = NEW) -> list[str]:
        return [order.station for order in self.fleet.orders if order.bundle == bundle]

    def states(self, rollout: int) -> dict[str, MemberState]:
        return {m.station: m.state for m in self.tables.rollouts.members(rollout)}

    def rollout(self, rollout: int) -> tuple[RolloutState, str]:
        found = self.tables.rollouts.get(rollout)
        return found.state, found.reason


def _loop(tables: Tables, releases: FakeReleases, link: RecordingLink, clock: HandClock) -> RolloutLoop:
    settings = RolloutSettings(wave_shares=(0.5,), policy=RolloutPolicy(silence_s=60.0))
    return RolloutLoop(
        rollouts=tables.rollouts,
        stations=tables.stations,
        releases=releases,
        signer=PlainSigner(),
        link=link,
        settings=settings,
        now=clock.now,
    )


@pytest.fixture
def plant(tables: Tables) -> Plant:
    clock, link = HandClock(), RecordingLink()
    tables.add_online(*STATIONS, now=clock.now())
    releases = FakeReleases(FakeRelease("v1", OLD, release_counter=3), FakeRelease("v2", NEW, 2000, release_counter=3))
    fleet = ObedientFleet(tables, link, clock.now)
    fleet.install(OLD, *STATIONS)
    return Plant(tables, clock, link, fleet, releases, _loop(tables, releases, link, clock))


def test_a_good_release_reaches_everyone_wave_by_wave(plant: Plant) -> None:
    rollout = plant.loop.start("v2", ("s1",), "operator")
    plant.loop.tick()
    assert [d.station for d in plant.link.desired()] == ["s2"], "only the canary is ordered at first"
    plant.turns()
    assert plant.rollout(rollout) == (RolloutState.DONE, "every wave is committed")
    assert set(plant.states(rollout).values()) == {MemberState.COMMITTED}
    assert plant.ordered() == ["s2", "s3", "s1", "s4"] and set(plant.fleet.running.values()) == {NEW}
    assert plant.tables.rollouts.get(rollout).ended_at is not None
    assert plant.tables.audit.first_broken() is None


def test_an_order_says_all_that_a_station_must_know(plant: Plant) -> None:
    plant.loop.start("v2", ("s1",), "operator")
    plant.turns()
    by_station = {order.station: order for order in plant.fleet.orders}
    canary, changed = by_station["s2"], by_station["s1"]
    assert (canary.bundle, canary.size_bytes, canary.release_counter, canary.deployment) == (NEW, 2000, 3, "r1-s2")
    assert canary.expires_at > canary.issued_at
    # The alarmed station is known to decide wrongly: a model that mends it must not agree with it.
    assert (canary.probation.min_agreement, changed.probation.min_agreement) == (0.9, 0.0)
    name, _, qos, retain = plant.link.published[0]
    assert (name, qos, retain) == (topic("s2", Channel.DESIRED), 1, True)


def test_orders_are_signed_with_the_order_key(plant: Plant, tmp_path: Path) -> None:
    keys = init_keys(tmp_path / "keys")
    plant.loop = RolloutLoop(
        rollouts=plant.tables.rollouts,
        stations=plant.tables.stations,
        releases=plant.releases,
        signer=KeyedOrderSigner(keys),
        link=plant.link,
        settings=RolloutSettings(),
        now=plant.clock.now,
    )
    plant.loop.start("v2", (), "operator")
    plant.loop.tick()
    order = verify_order(plant.link.desired()[0].envelope, [keys.order_key()])
    assert (order.station, order.bundle, order.desired_seq) == ("s1", NEW, 1)


def test_a_canary_that_fails_stops_the_rollout_and_the_others_are_never_ordered(plant: Plant) -> None:
    plant.fleet.refuse.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns()
    assert plant.rollout(rollout) == (RolloutState.ABORTED, "s1: it crashed")
    assert plant.ordered() == ["s1"] and plant.ordered(OLD) == ["s1"]
    assert plant.states(rollout) == {"s1": MemberState.BACK, **dict.fromkeys(("s2", "s3", "s4"), MemberState.SKIPPED)}
    assert set(plant.fleet.running.values()) == {OLD}
    back = plant.fleet.orders[-1]
    assert (back.deployment, back.desired_seq, back.probation.min_agreement) == ("r1-s1-back", 2, 0.0)


def test_a_failure_in_a_later_wave_brings_back_those_that_committed(plant: Plant) -> None:
    plant.fleet.refuse.add("s4")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(20)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED
    assert set(plant.states(rollout).values()) == {MemberState.BACK}
    assert set(plant.fleet.running.values()) == {OLD} and sorted(plant.ordered(OLD)) == list(STATIONS)


def test_silence_is_failure(plant: Plant) -> None:
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(59)
    assert plant.rollout(rollout)[0] is RolloutState.RUNNING
    plant.turns(5)
    state, why = plant.rollout(rollout)
    assert state is RolloutState.ABORTING and why.startswith("s1: silent for 6")
    plant.fleet.go("s1")
    plant.turns(3)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED, "a station that is away is not waited for"
    assert plant.tables.rollouts.next_seq("s1") == 3, "and finds the order to go back when it returns"


def test_a_slow_station_that_reports_is_not_silent(plant: Plant) -> None:
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    for _ in range(5):
        plant.turns(50)
        plant.fleet.say("s1", "DOWNLOAD", "r1-s1")
    assert plant.rollout(rollout)[0] is RolloutState.RUNNING


def test_a_station_that_is_offline_at_dispatch_is_waited_for_and_has_its_time_when_it_comes(plant: Plant) -> None:
    plant.fleet.go("s1")
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(200)
    assert plant.rollout(rollout)[0] is RolloutState.RUNNING and plant.ordered() == ["s1"]
    plant.fleet.come("s1")
    plant.turns(30)
    assert plant.rollout(rollout)[0] is RolloutState.RUNNING
    plant.fleet.running["s1"] = NEW
    plant.fleet.say("s1", "COMMITTED", "r1-s1")
    plant.turns()
    assert plant.rollout(rollout)[0] is RolloutState.DONE


def test_a_station_that_takes_the_order_and_vanishes_has_failed(plant: Plant) -> None:
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(10)
    plant.fleet.go("s1")
    plant.turns(55)
    assert plant.rollout(rollout)[0] is RolloutState.RUNNING, "a restart takes its time"
    plant.turns(10)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED


def test_a_station_that_crashes_and_is_reborn_again_and_again_is_silent(plant: Plant) -> None:
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    for _ in range(8):
        plant.turns(9)
        plant.fleet.come("s1")
    assert plant.rollout(rollout)[0] is not RolloutState.RUNNING


def test_stations_are_not_blamed_for_the_brokers_or_the_clouds_own_silence(plant: Plant) -> None:
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(5)
    plant.link.up = False
    plant.turns(300)
    plant.link.reconnect()
    plant.turns(50)
    assert plant.rollout(rollout)[0] is RolloutState.RUNNING
    plant.clock.forward(10_000.0)
    plant.restart()
    plant.turns(50)
    assert plant.rollout(rollout)[0] is RolloutState.RUNNING
    plant.turns(15)
    assert plant.rollout(rollout)[0] is not RolloutState.RUNNING


def test_a_restart_in_the_middle_of_a_wave_goes_on_from_the_database(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "operator")
    for _ in range(14):
        plant.restart()
        plant.turns(1)
    assert plant.rollout(rollout)[0] is RolloutState.DONE
    seqs = [(o.station, o.desired_seq) for o in plant.fleet.orders]
    assert sorted(set(seqs)) == [(s, 1) for s in STATIONS], "no order is made twice, only sent twice"


def test_a_restart_in_the_middle_of_an_abort_brings_everyone_back(plant: Plant) -> None:
    plant.fleet.refuse.add("s3")
    rollout = plant.loop.start("v2", (), "operator")
    for _ in range(25):
        plant.restart()
        plant.turns(1)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED
    assert set(plant.fleet.running.values()) == {OLD}


def test_a_broker_that_comes_back_is_told_every_order_again(plant: Plant) -> None:
    plant.loop.start("v2", (), "operator")
    plant.turns()
    sent = len(plant.link.desired())
    plant.turns(3)
    assert len(plant.link.desired()) == sent, "an order that the broker took is not repeated"
    plant.link.reconnect()
    plant.turns(1)
    again = plant.link.desired()[sent:]
    assert sorted(d.station for d in again) == list(STATIONS)
    assert {read_plain(d.envelope).desired_seq for d in again} == {1}


def test_an_order_waits_in_the_database_while_there_is_no_broker(plant: Plant) -> None:
    plant.link.up = False
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(3)
    assert plant.link.published == [] and plant.states(rollout)["s1"] is MemberState.ORDERED
    plant.link.reconnect()
    plant.turns()
    assert plant.rollout(rollout)[0] is RolloutState.DONE


def test_desired_seq_only_ever_grows(plant: Plant) -> None:
    for turn in range(3):
        plant.fleet.refuse = {"s4"} if turn % 2 else set()
        plant.loop.start("v2" if turn % 2 else "v1", (), "operator")
        plant.turns(25)
    for station in STATIONS:
        seqs = [o.desired_seq for o in plant.fleet.orders if o.station == station]
        assert seqs == sorted(seqs) and len(set(seqs)) == len(seqs) and len(seqs) >= 3


def test_a_person_can_stop_a_rollout_and_only_one_that_goes_on(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(2)
    plant.loop.abort(rollout, "eva", "wrong lamp")
    plant.turns()
    assert plant.rollout(rollout) == (RolloutState.ABORTED, "wrong lamp")
    assert set(plant.fleet.running.values()) == {OLD}
    assert ("eva", "abort") in [(e.actor, e.act) for e in plant.tables.audit.entries()]
    with pytest.raises(IllegalTransition):
        plant.loop.abort(rollout, "eva", "again")
    with pytest.raises(NotFound):
        plant.loop.abort(99, "eva", "which?")


def test_an_unknown_version_and_a_second_rollout_are_refused(plant: Plant) -> None:
    with pytest.raises(NotFound, match="no version 'v9'"):
        plant.loop.start("v9", (), "operator")
    plant.loop.start("v2", (), "operator")
    with pytest.raises(RefusedError, match="still under way"):
        plant.loop.start("v1", (), "operator")


def test_a_report_of_another_deployment_commits_nothing(plant: Plant) -> None:
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(2)
    plant.fleet.running["s1"] = NEW
    plant.fleet.say("s1", "COMMITTED", "r0-s1")
    plant.turns(2)
    assert plant.states(rollout)["s1"] is MemberState.ORDERED


@pytest.mark.parametrize("former", ["", "f" * 64])
def test_a_station_without_a_way_back_does_not_keep_the_others_from_going_back(plant: Plant, former: str) -> None:
    """It ran nothing before, or a bundle (from a USB kit) that is in no release."""
    plant.fleet.install(former, "s2")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(3)
    plant.fleet.refuse.add("s3")
    plant.turns(20)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED
    assert {s: plant.fleet.running[s] for s in ("s1", "s3", "s4")} == dict.fromkeys(("s1", "s3", "s4"), OLD)
    (stuck,) = [m for m in plant.tables.rollouts.members(rollout) if m.station == "s2"]
    assert stuck.state is MemberState.BACK and ("no former bundle" in stuck.reason or "in no release" in stuck.reason)


def test_release_that_raises_the_counter_is_not_taken_back_where_it_was_committed(plant: Plant) -> None:
    plant.releases.releases.append(FakeRelease("v3", "3" * 64, release_counter=5))
    rollout = plant.loop.start("v3", (), "operator")
    plant.turns(3)
    plant.fleet.refuse.add("s3")
    plant.turns(20)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED
    members = {m.station: m for m in plant.tables.rollouts.members(rollout)}
    # s1 and s2 committed it: their floor is up, and an order for what ran before would be refused for ever.
    for station in ("s1", "s2"):
        assert plant.fleet.running[station] == "3" * 64 and "release counter to 5" in members[station].reason
    assert plant.fleet.running["s3"] == OLD and plant.fleet.orders[-1].deployment == "r1-s3-back"


def test_station_ordered_to_run_nothing_stops_and_a_rollout_starts_it_again(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "operator")
    with pytest.raises(RefusedError, match="under way"):
        plant.loop.stop_station("s3", "eva", "passes cracked parts")
    plant.turns()
    assert plant.rollout(rollout)[0] is RolloutState.DONE
    plant.loop.stop_station("s3", "eva", "passes cracked parts")
    plant.turns(2)
    stop = plant.fleet.orders[-1]
    assert (stop.station, stop.bundle, stop.size_bytes, stop.desired_seq) == ("s3", "", 0, 2)
    assert plant.fleet.running["s3"] == "" and plant.fleet.running["s4"] == NEW
    assert [e.detail for e in plant.tables.audit.entries() if e.act == "stop station"] == [
        "s3: passes cracked parts (desired_seq 2)"
    ]
    again = plant.loop.start("v2", (), "operator")
    plant.turns()
    assert plant.rollout(again)[0] is RolloutState.DONE and plant.fleet.running["s3"] == NEW


def test_numbers_go_on_after_what_a_station_says_it_followed(plant: Plant) -> None:
    """The database is a restored one: orders that count from its own number would all be refused as old."""
    plant.tables.stations.commit(
        [], [ReportedState("s1", "b1", plant.clock.now(), OLD, "COMMITTED", desired_seq=41)], plant.clock.now()
    )
    assert plant.tables.rollouts.next_seq("s1") == 42


def test_version_below_the_counter_that_was_rolled_out_is_refused(plant: Plant) -> None:
    plant.releases.releases.append(FakeRelease("v3", "3" * 64, release_counter=5))
    plant.loop.start("v3", (), "operator")
    plant.turns()
    with pytest.raises(RefusedError, match="release counter 3, and 5 was rolled out"):
        plant.loop.start("v2", (), "operator")
    assert len(plant.tables.rollouts.all()) == 1


def test_a_station_without_a_way_back_that_was_away_finds_no_bad_order_on_its_return(plant: Plant) -> None:
    plant.fleet.install("", "s2")
    plant.fleet.go("s2")
    rollout = plant.loop.start("v2", ("s1", "s3", "s4"), "operator")
    plant.turns(3)
    name = topic("s2", Channel.DESIRED)
    assert NEW in plant.link.retained(name).decode(), "it is the canary, and its order waits for it"
    plant.loop.abort(rollout, "eva", "wrong lamp")
    plant.turns(3)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED and plant.link.retained(name) == b""
    assert ("plumbline", "withdraw") in [(e.actor, e.act) for e in plant.tables.audit.entries()]
    plant.link.reconnect()
    plant.turns(2)
    assert plant.link.retained(name) == b"", "nor does a broker that forgot everything get it again"
    plant.fleet.come("s2")
    again = plant.loop.start("v1", (), "operator")
    plant.turns(20)
    assert plant.rollout(again)[0] is RolloutState.DONE and plant.fleet.running["s2"] == OLD
    assert [o.desired_seq for o in plant.fleet.orders if o.station == "s2"] == [1, 2], "and its next order counts on"


def test_an_abort_that_meets_the_last_step_wins(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = plant.loop.start("v2", (), "operator")
    step: Callable[..., None] = type(plant.tables.rollouts).step

    def abort_first(*args: object) -> None:
        monkeypatch.undo()
        plant.loop.abort(rollout, "eva", "just in time")
        step(*args)

    monkeypatch.setattr(type(plant.tables.rollouts), "step", abort_first)
    with pytest.raises(IllegalTransition, match="has moved on"):
        plant.turns()
    assert plant.rollout(rollout) == (RolloutState.ABORTING, "just in time")
    plant.turns()
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED and set(plant.fleet.running.values()) == {OLD}
