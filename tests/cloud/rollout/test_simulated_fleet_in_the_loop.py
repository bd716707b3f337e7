"""Simulated fleets through the real loop over a real database: what `cloud.rollout.simulate` promises, it keeps."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from cloud.rollout.evidence import read_evidence
from cloud.rollout.rollout_states import RolloutState
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases, ObedientFleet, PlainSigner
from tests.fakes.cloud_tables import open_tables
from tests.fakes.link import RecordingLink

OLD, NEW = "a" * 64, "b" * 64


def _rollout(folder: Path, stations: int, rate: float, seed: int) -> tuple[RolloutState, int, set[str], list[int]]:
    chance, clock, link = Random(seed), HandClock(), RecordingLink()
    tables = open_tables(folder / f"{seed}.db")
    names = [f"s{n:04}" for n in range(stations)]
    tables.add_online(*names, now=clock.now())
    fleet = ObedientFleet(tables, link, clock.now)
    fleet.install(OLD, *names)
    fleet.refuse = {name for name in names if chance.random() < rate}
    loop = RolloutLoop(
        rollouts=tables.rollouts,
        stations=tables.stations,
        releases=FakeReleases(FakeRelease("v1", OLD), FakeRelease("v2", NEW)),
        signer=PlainSigner(),
        link=link,
        settings=RolloutSettings(),
        now=clock.now,
    )
    rollout = loop.start("v2", (), "operator")
    for _ in range(60):
        clock.forward(1.0)
        loop.tick()
        fleet.obey()
        if tables.rollouts.get(rollout).ended_at is not None:
            break
    found = tables.rollouts.get(rollout)
    reached = len({order.station for order in fleet.orders if order.bundle == NEW})
    waves = [wave.committed for wave in read_evidence(found.evidence).waves]
    running = {fleet.running[name] for name in names if name not in fleet.refuse}
    tables.database.close()
    return found.state, reached, running, waves


@pytest.mark.parametrize("seed", [1, 2])
def test_a_bad_release_stops_and_leaves_nobody_on_it(tmp_path: Path, seed: int) -> None:
    state, reached, running, _ = _rollout(tmp_path, 120, 0.2, seed)
    assert (state, running) == (RolloutState.ABORTED, {OLD}) and reached <= 30


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_good_release_reaches_everybody_though_some_fail(tmp_path: Path, seed: int) -> None:
    state, reached, running, waves = _rollout(tmp_path, 600, 0.002, seed)
    assert (state, reached, running) == (RolloutState.DONE, 600, {NEW}) and 590 <= sum(waves) <= 600


def test_a_release_that_fails_nowhere_reaches_everybody(tmp_path: Path) -> None:
    state, reached, running, waves = _rollout(tmp_path, 120, 0.0, 3)
    assert (state, reached, running, waves) == (RolloutState.DONE, 120, {NEW}, [1, 5, 24, 90])
