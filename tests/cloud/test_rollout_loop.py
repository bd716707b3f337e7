"""Rollouts over a real database: orders go out in waves, reports come back, a bad release stops itself (P7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.registry.keys import init_keys
from cloud.registry.orders import KeyedOrderSigner
from cloud.rollout.judge import RolloutPolicy
from cloud.rollout.rollout_states import MemberState, RolloutEvent, RolloutState
from cloud.rollout.way_back import MOST_RECALLS, recall_name, recalls
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from cloud.store.rollout_rows import deployment_name
from contract.codec import decode_control
from contract.errors import IllegalTransition, NotFound, RefusedError
from contract.messages import DesiredState, ReportedState
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

    def deployment(self, station: str, rollout: int = 1) -> str:
        return next(m.deployment for m in self.tables.rollouts.members(rollout) if m.station == station)

    def reason(self, station: str, rollout: int = 1) -> str:
        return next(m.reason for m in self.tables.rollouts.members(rollout) if m.station == station)

    def audit(self, act: str) -> list[str]:
        return [entry.detail for entry in self.tables.audit.entries() if entry.act == act]

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
    assert (canary.bundle, canary.size_bytes, canary.release_counter, canary.deployment) == (
        NEW, 2000, 3, plant.deployment("s2"),
    )  # fmt: skip
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
    assert (back.deployment, back.desired_seq, back.probation.min_agreement) == (
        f"{plant.fleet.orders[0].deployment}-back", 2, 0.0,
    )  # fmt: skip


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
        plant.fleet.say("s1", "DOWNLOAD", plant.deployment("s1"))
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
    plant.fleet.say("s1", "COMMITTED", plant.deployment("s1"))
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
    # Nothing there is known to be good: it decides nothing rather than go on with the bad one.
    assert plant.fleet.running["s2"] == "" and "ordered to run nothing" in stuck.reason
    assert [d for d in plant.audit("recall") if d.startswith("s2: run nothing") and stuck.reason in d]


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
    assert plant.fleet.running["s3"] == OLD and plant.fleet.orders[-1].deployment.endswith("-s3-back")


def test_station_ordered_to_run_nothing_stops_and_a_rollout_starts_it_again(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "operator")
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


def test_a_rollout_goes_on_without_a_station_that_is_stopped_in_its_middle(plant: Plant) -> None:
    plant.fleet.mute.add("s2")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(4)
    assert (plant.states(rollout)["s1"], plant.states(rollout)["s2"]) == (MemberState.COMMITTED, MemberState.ORDERED)
    plant.fleet.mute.clear()
    for station in ("s1", "s2", "s4"):  # kept, under way, and not yet ordered
        plant.loop.stop_station(station, "eva", "passes cracked parts")
    plant.turns(12)
    assert plant.rollout(rollout)[0] is RolloutState.DONE
    assert plant.fleet.running == {"s1": "", "s2": "", "s3": NEW, "s4": ""}
    assert [plant.states(rollout)[s] for s in ("s1", "s2", "s4")] == [MemberState.SKIPPED] * 3


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
    plant.fleet.mute.add("s2")
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
    plant.fleet.mute.clear()
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


def test_a_way_back_is_kept_as_soon_as_it_loads_and_one_that_is_turned_down_is_ordered_anew(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(2)
    plant.fleet.refuse.add("s1")
    plant.loop.abort(rollout, "eva", "wrong lamp")
    plant.turns(1)
    plant.fleet.refuse.clear()
    plant.turns(4)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED and plant.fleet.running["s1"] == OLD
    first, second = [o for o in plant.fleet.orders if o.station == "s1" and o.bundle == OLD]
    assert second.deployment == f"{first.deployment}2" and second.desired_seq == first.desired_seq + 1
    # A line that stands still brings no frame: to want some would turn the good bundle down and ban it.
    assert (second.probation.frames, second.probation.min_agreement, second.probation.serve_s) == (0, 0.0, 0.0)


def test_a_station_that_turns_every_way_back_down_is_given_up_in_words(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(2)
    plant.fleet.refuse.add("s1")
    plant.loop.abort(rollout, "eva", "wrong lamp")
    for _ in range(12):
        plant.restart()
        plant.turns(1)
    assert plant.rollout(rollout) == (RolloutState.ABORTED, "wrong lamp")
    names = [o.deployment for o in plant.fleet.orders if o.bundle == OLD]
    assert [name.rpartition("-")[2] for name in dict.fromkeys(names)] == ["back", "back2", "back3"]
    assert plant.states(rollout)["s1"] is MemberState.BACK
    assert plant.reason("s1") == f"it turned down the way back 3 times and runs '{NEW[:12]}': it crashed"


def test_station_can_be_stopped_while_a_rollout_is_aborted_and_is_not_taken_back_then(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(4)
    plant.fleet.mute.update(("s1", "s2"))
    plant.loop.abort(rollout, "eva", "wrong lamp")
    plant.loop.stop_station("s2", "eva", "passes cracked parts")  # before its way back was ordered
    plant.turns(2)
    plant.loop.stop_station("s1", "eva", "passes cracked parts")  # in its stead
    plant.fleet.mute.clear()
    plant.link.reconnect()
    plant.turns(3)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED
    assert (plant.fleet.running["s1"], plant.fleet.running["s2"]) == ("", "")
    assert plant.reason("s2") == "stop station: passes cracked parts"


def test_a_station_that_was_away_for_longer_than_an_order_holds_finds_one_that_holds(plant: Plant) -> None:
    plant.fleet.go("s4")
    plant.fleet.mute.add("s4")
    rollout = plant.loop.start("v2", ("s4",), "operator")
    plant.turns(20)
    name = topic("s4", Channel.DESIRED)
    first = read_plain(decode_control(plant.link.retained(name), DesiredState).envelope)
    for _ in range(62):
        plant.clock.forward(86_400.0 / 2)
        plant.loop.tick()
    order = read_plain(decode_control(plant.link.retained(name), DesiredState).envelope)
    assert order.expires_at > plant.clock.now() + 10 * 86_400.0 and first.expires_at < plant.clock.now()
    assert (order.bundle, order.deployment, order.probation) == (first.bundle, first.deployment, first.probation)
    assert order.desired_seq == first.desired_seq + 2 and plant.audit("renew") == [
        "s4: order 1 signed anew as 2",
        "s4: order 2 signed anew as 3",
    ], "those that followed theirs need no other"
    plant.fleet.come("s4")
    plant.fleet.mute.clear()
    plant.link.reconnect()
    plant.turns(3)
    assert plant.rollout(rollout)[0] is RolloutState.DONE and plant.fleet.running["s4"] == NEW


def test_the_way_back_of_a_rollout_that_is_over_is_renewed_too_until_it_is_followed(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(2)
    plant.fleet.go("s1")
    plant.fleet.mute.add("s1")
    plant.loop.abort(rollout, "eva", "wrong lamp")
    plant.turns(3)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED
    plant.clock.forward(31 * 86_400.0)
    plant.restart()
    plant.fleet.mute.clear()
    plant.fleet.come(*STATIONS)
    plant.turns(2)
    assert plant.fleet.running["s1"] == OLD and plant.fleet.orders[-1].expires_at > plant.clock.now()
    plant.clock.forward(31 * 86_400.0)
    plant.turns(2)
    assert len(plant.audit("renew")) == 1


def test_an_order_is_not_renewed_over_a_newer_one_that_its_station_followed(plant: Plant) -> None:
    """It came by a kit: the order that stands with the broker must not take the station back."""
    plant.fleet.mute.add("s1")
    plant.loop.start("v2", (), "operator")
    plant.turns(2)
    report = ReportedState("s1", "b1", plant.clock.now(), "c" * 64, "COMMITTED", "kit", "c" * 64, desired_seq=2)
    plant.tables.stations.commit([], [report], plant.clock.now())
    plant.clock.forward(31 * 86_400.0)
    plant.loop.tick()
    assert plant.audit("renew") == []


def test_a_canary_that_leaves_the_bundle_after_its_commit_stops_the_rollout(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(2)
    assert plant.states(rollout)["s1"] is MemberState.COMMITTED
    plant.fleet.leave("s1", OLD, plant.deployment("s1"))
    plant.turns()
    assert plant.rollout(rollout) == (
        RolloutState.ABORTED, "s1: it left the bundle after its commit: it died 5 times",
    )  # fmt: skip
    assert set(plant.fleet.running.values()) == {OLD} and {"s3", "s4"}.isdisjoint(plant.ordered())


def test_a_station_that_went_back_by_itself_and_may_not_be_ordered_back_does_not_hold_up_the_end(plant: Plant) -> None:
    """Its commit raised its floor above the former bundle: it runs that from its other slot, and refuses every order for it."""
    plant.releases.releases.append(FakeRelease("v3", "3" * 64, release_counter=5))
    rollout = plant.loop.start("v3", (), "operator")
    plant.turns(2)
    name = plant.deployment("s1")
    plant.fleet.leave("s1", OLD, name)
    plant.fleet.mute.add("s1")
    plant.turns(3)
    plant.fleet.running["s1"] = "3" * 64
    plant.fleet.leave("s1", OLD, name)  # says so again, having refused
    plant.turns(2)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED


@pytest.mark.parametrize("former", ["", "f" * 64])
def test_a_station_that_may_be_trying_the_bad_bundle_and_has_no_way_back_is_stopped(plant: Plant, former: str) -> None:
    """The order gone from the broker would not end its trial: it would commit what was aborted."""
    plant.fleet.install(former, "s1")
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(2)
    plant.fleet.say("s1", "TRIAL", plant.deployment("s1"))
    plant.loop.abort(rollout, "eva", "wrong lamp")
    plant.turns(2)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTING, "it is here, and has not said yet that it stopped"
    plant.fleet.mute.clear()
    plant.link.reconnect()
    plant.turns(3)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED and plant.fleet.running["s1"] == ""
    assert plant.reason("s1").endswith("ordered to run nothing")


def test_a_station_that_rolled_back_to_a_bundle_from_a_kit_is_not_stopped(plant: Plant) -> None:
    plant.fleet.install("f" * 64, "s1")
    plant.fleet.refuse.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns()
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED and plant.fleet.running["s1"] == "f" * 64
    assert plant.link.retained(topic("s1", Channel.DESIRED)) == b"" and plant.audit("withdraw")


def test_an_abort_of_a_release_that_is_rolled_out_again_leads_back_to_what_ran_before_it(plant: Plant) -> None:
    plant.loop.start("v2", (), "operator")
    plant.turns()
    again = plant.loop.start("v2", (), "operator")
    plant.turns()
    third = plant.loop.start("v2", (), "operator")
    plant.turns(2)
    plant.loop.abort(third, "eva", "wrong lamp")
    plant.turns()
    assert plant.rollout(again)[0] is RolloutState.DONE and plant.rollout(third)[0] is RolloutState.ABORTED
    assert plant.fleet.running["s1"] == OLD


def test_a_station_that_ran_the_bundle_from_elsewhere_is_not_taken_back_to_it(plant: Plant) -> None:
    plant.fleet.install(NEW, "s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(2)
    plant.loop.abort(rollout, "eva", "wrong lamp")
    plant.turns()
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED and plant.ordered() == ["s1"]
    assert "it ran this bundle before the rollout" in plant.reason("s1")


def test_what_a_station_said_of_a_rollout_of_a_former_life_counts_for_none_of_this_one(plant: Plant) -> None:
    """The database is new, or a restored one, and its numbers begin again."""
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    name = plant.deployment("s1")
    for deployment, candidate in (("r1-s1", NEW), (name, "d" * 64)):
        report = ReportedState("s1", "b1", plant.clock.now(), OLD, "ROLLED_BACK", deployment, candidate, "long ago")
        plant.tables.stations.commit([], [report], plant.clock.now())
        plant.turns(2)
        assert plant.states(rollout)["s1"] is MemberState.ORDERED
    book = plant.tables.rollouts
    book.step(book.get(rollout), RolloutEvent.ABORT, "eva", "", plant.clock.now())
    plant.fleet.go("s1")
    plant.turns(2)
    plant.clock.forward(0.001)
    other = plant.loop.start("v2", (), "operator")
    assert plant.deployment("s1", other).split("-")[1] != name.split("-")[1]


@given(
    name=st.from_regex(r"[a-z][a-z0-9]{0,62}", fullmatch=True), now=st.floats(0.0, 1e11), rollout=st.integers(1, 10**9)
)
def test_a_deployment_and_its_ways_back_fit_their_column(name: str, now: float, rollout: int) -> None:
    ordered = deployment_name(rollout, name, now)
    names = [ordered]
    for tries in range(MOST_RECALLS):
        assert recalls(names[-1]) == tries
        names.append(recall_name(names[-1]))
    assert len(set(names)) == MOST_RECALLS + 1 and max(map(len, names)) <= 64


def test_a_registry_older_than_a_rollout_keeps_no_other_order_from_going_out(plant: Plant) -> None:
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(1)
    kept = plant.releases.releases[:]
    del plant.releases.releases[1]
    plant.link.reconnect()
    sent = len(plant.link.desired())
    with pytest.raises(NotFound, match="is in no release"):
        plant.turns(2)
    assert [d.station for d in plant.link.desired()[sent:]] == ["s1"], "what stands is sent all the same"
    plant.releases.releases[:] = kept
    plant.turns()
    assert plant.rollout(rollout)[0] is RolloutState.DONE


def test_an_order_that_a_station_is_busy_with_is_renewed_only_once_it_is_away(plant: Plant) -> None:
    plant.fleet.mute.add("s1")
    plant.loop.start("v2", (), "operator")
    plant.turns(2)
    plant.clock.forward(16 * 86_400.0)
    plant.fleet.say("s1", "TRIAL", plant.deployment("s1"))
    plant.loop.tick()
    assert plant.audit("renew") == [], "another number would end its trial"
    plant.fleet.go("s1")
    plant.turns(61)
    assert plant.audit("renew") == ["s1: order 1 signed anew as 2"]


def test_a_commit_that_crosses_a_way_back_which_its_counter_forbids_ends_the_wait_in_words(plant: Plant) -> None:
    plant.releases.releases.append(FakeRelease("v3", "3" * 64, release_counter=5))
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v3", (), "operator")
    plant.turns(2)
    name = plant.deployment("s1")
    plant.loop.abort(rollout, "eva", "wrong lamp")
    plant.turns(1)
    plant.fleet.running["s1"] = "3" * 64
    plant.fleet.say("s1", "COMMITTED", name)
    plant.turns(2)
    assert plant.rollout(rollout)[0] is RolloutState.ABORTED
    assert "v3 raised the release counter to 5" in plant.reason("s1")
