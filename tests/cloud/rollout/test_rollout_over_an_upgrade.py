"""A rollout that was under way when a server of before plans and evidence (schema 0005) was replaced by this one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, text

from cloud.rollout.evidence import read_evidence
from cloud.rollout.judge import RolloutPolicy
from cloud.rollout.rollout_states import MemberState, RolloutState
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from cloud.store import schema
from cloud.store.migrations import tables_0001
from cloud.store.versions import Versions
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases, ObedientFleet, PlainSigner
from tests.fakes.cloud_tables import Tables, open_tables
from tests.fakes.link import RecordingLink

OLD, NEW = "a" * 64, "b" * 64
STATIONS = ("s1", "s2", "s3", "s4")
T0 = HandClock().now()


def _plant_of_0005(url: str, state: str) -> None:
    """A canary that committed, one station that was just ordered, two that wait."""
    engine = create_engine(url)
    with engine.begin() as connection:
        tables_0001.metadata.create_all(connection)
        schema.migrate(connection, "0005")
        for station in STATIONS:
            row = {"s": station, "at": T0}
            connection.execute(text("INSERT INTO stations VALUES (:s, 'x', '', :at)"), row)
        connection.execute(
            text(
                "INSERT INTO rollouts (version, bundle, state, wave, wave_started_at, changed_stations, reason, created_at)"
                " VALUES ('v2', :b, :state, 1, :at, '[]', '', :at)"
            ),
            {"b": NEW, "state": state, "at": T0},
        )
        for station, wave, was, bundle, at in (
            ("s1", 0, "COMMITTED", OLD, T0),
            ("s2", 1, "ORDERED", OLD, T0),
            ("s3", 2, "PLANNED", "", None),
            ("s4", 2, "PLANNED", "", None),
        ):
            connection.execute(
                text(
                    "INSERT INTO rollout_stations (rollout, station, wave, state, deployment, previous_bundle, ordered_at,"
                    " reason) VALUES (1, :s, :w, :was, :d, :b, :at, '')"
                ),
                {"s": station, "w": wave, "was": was, "d": f"r1-0-{station}", "b": bundle, "at": at},
            )
    engine.dispose()


def _goes_on(tables: Tables) -> tuple[ObedientFleet, Callable[[int], None]]:
    clock, link = HandClock(), RecordingLink()
    tables.add_online(*STATIONS, now=clock.now())
    fleet = ObedientFleet(tables, link, clock.now)
    fleet.install(OLD, *STATIONS)
    fleet.install(NEW, "s1")
    fleet.say("s1", "COMMITTED", "r1-0-s1")
    loop = RolloutLoop(
        rollouts=tables.rollouts,
        stations=tables.stations,
        releases=FakeReleases(FakeRelease("v1", OLD), FakeRelease("v2", NEW)),
        signer=PlainSigner(),
        link=link,
        settings=RolloutSettings(wave_shares=(0.5,), policy=RolloutPolicy(silence_s=60.0)),
        now=clock.now,
        stages=Versions(tables.database),
    )

    def turns(count: int) -> None:
        for _ in range(count):
            clock.forward(1.0)
            loop.tick()
            fleet.obey()

    return fleet, turns


@pytest.mark.parametrize("ends", ["well", "badly", "silent"])
def test_it_goes_on_to_its_end(new_database: Callable[..., str], ends: str) -> None:
    url = new_database(empty=True)
    _plant_of_0005(url, "RUNNING")
    tables = open_tables(url)
    fleet, turns = _goes_on(tables)
    turns(2)
    found = tables.rollouts.get(1)
    assert (found.state, found.wave, found.kind, found.plan) == (RolloutState.RUNNING, 1, "release", "{}")
    assert fleet.orders == [], "the one that was ordered is waited for"
    evidence = read_evidence(found.evidence)
    assert [wave.name for wave in evidence.waves] == ["wave 0", "wave 1", "wave 2"] and evidence.heard == 1
    if ends == "well":
        fleet.running["s2"] = NEW
        fleet.say("s2", "COMMITTED", "r1-0-s2")
        turns(6)
        assert tables.rollouts.get(1).state is RolloutState.DONE and set(fleet.running.values()) == {NEW}
        assert Versions(tables.database).resolve("champion") == "v2"
    else:
        if ends == "badly":
            fleet.say("s2", "ROLLED_BACK", "r1-0-s2")
        turns(70)
        assert tables.rollouts.get(1).state is RolloutState.ABORTED and set(fleet.running.values()) == {OLD}
        states = {m.station: m.state for m in tables.rollouts.members(1)}
        assert [states[s] for s in ("s1", "s3", "s4")] == [MemberState.BACK, MemberState.SKIPPED, MemberState.SKIPPED]
    tables.database.close()


def test_one_that_was_being_aborted_brings_everybody_back(new_database: Callable[..., str]) -> None:
    url = new_database(empty=True)
    _plant_of_0005(url, "ABORTING")
    tables = open_tables(url)
    fleet, turns = _goes_on(tables)
    turns(4)
    assert tables.rollouts.get(1).state is RolloutState.ABORTED and set(fleet.running.values()) == {OLD}
    tables.database.close()
