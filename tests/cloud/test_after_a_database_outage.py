"""The database was away for hours and is back: stations whose words could not be stored meanwhile are not silent for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloud.fleet_facts import FactSources, FleetFacts
from cloud.needs import DATABASE, needs
from cloud.needs_of_stations import SILENT
from cloud.rollout.rollout_states import MemberState, RolloutState
from cloud.store.fact_rows import FactRows
from contract.errors import TransientError
from contract.messages import ReportedState
from tests.cloud.test_rollout_loop import NEW, Plant
from tests.cloud.test_rollout_loop import plant as plant  # the fixture
from tests.fakes.cloud_tables import T0, Tables, open_tables
from tests.fakes.link import RecordingLink


@contextmanager
def away(tables: Tables) -> Iterator[None]:
    """Take the file away, and every connection that is open."""
    file = Path(str(tables.database.engine.url.database))
    tables.database.engine.dispose()
    moved = file.rename(file.with_name("away.db"))
    yield
    tables.database.engine.dispose()
    moved.rename(file)


def test_no_station_is_called_silent_for_what_could_not_be_stored(tmp_path: Path) -> None:
    tables = open_tables(tmp_path / "cloud.db")
    tables.add_online("s1", "s2", now=T0)
    now, link = [T0 + 60.0], RecordingLink()
    t = tables
    sources = FactSources(
        t.stations, t.summaries, t.samples, t.alarms, t.rollouts, FactRows(t.database), link,
        lost_database=t.database.why_lost,
    )  # fmt: skip
    facts = FleetFacts(sources, lambda: now[0])

    def kinds() -> list[str]:
        now[0] += 5.0
        return [need.kind for need in needs(facts.read()) if need.kind in (SILENT, "database gone")]

    assert kinds() == []
    with away(tables):
        for _ in range(3):
            now[0] += 3600.0
            assert kinds() == ["database gone"]
            assert [need.key for need in needs(facts.read())] == [DATABASE]
    assert kinds() == []
    now[0] += 1900.0
    assert kinds() == [SILENT], "whoever keeps silent afterwards is"
    tables.database.close()


def test_a_rollout_is_not_aborted_for_reports_that_could_not_be_stored(plant: Plant) -> None:
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(1)
    assert plant.states(rollout)["s1"] is MemberState.ORDERED
    with away(plant.tables):
        for _ in range(200):  # silence_s is 60
            plant.clock.forward(1.0)
            with pytest.raises(TransientError):
                plant.loop.tick()
    plant.clock.forward(0.5)
    plant.loop.tick()  # before anything that came meanwhile is stored
    assert plant.rollout(rollout)[0] is RolloutState.RUNNING
    now, deployment = plant.clock.now(), plant.deployment("s1")
    report = ReportedState("s1", "b1", now, NEW, "COMMITTED", deployment, NEW, "", 1)
    plant.tables.stations.commit([], [report], now)
    plant.turns(12)
    assert plant.states(rollout)["s1"] is MemberState.COMMITTED
    assert plant.rollout(rollout)[0] is RolloutState.DONE


def test_one_that_is_silent_afterwards_is_silent(plant: Plant) -> None:
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(1)
    with away(plant.tables), pytest.raises(TransientError):
        plant.loop.tick()
    plant.turns(30)
    assert plant.rollout(rollout)[0] is RolloutState.RUNNING
    plant.turns(40)
    assert plant.rollout(rollout)[0] is not RolloutState.RUNNING and "silent" in plant.rollout(rollout)[1]


def test_a_file_that_can_be_read_while_it_is_away_makes_nobody_silent_either(plant: Plant) -> None:
    plant.loop._why_lost = plant.tables.database.why_lost  # as `serve` has it
    plant.fleet.mute.add("s1")
    rollout = plant.loop.start("v2", (), "operator")
    plant.turns(3)
    file = Path(str(plant.tables.database.engine.url.database))
    moved = file.rename(file.with_name("away.db"))
    plant.turns(56)  # connections that are open read on, and nothing is due to be written: silence_s is 60
    moved.rename(file)
    plant.turns(5)  # before anything that came meanwhile is stored
    assert plant.rollout(rollout)[0] is RolloutState.RUNNING
    plant.turns(60)
    assert plant.rollout(rollout)[0] is not RolloutState.RUNNING, "whoever keeps silent afterwards is"
