"""A fleet, a real rollout loop and a real database, for whoever looks at rollouts: pages, routes and commands."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cloud.rollout.ab_report import ArmStation, ab_report
from cloud.rollout.evidence import read_evidence
from cloud.rollout.judge import RolloutPolicy
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from cloud.store.rollout_reading import RolloutReading
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases, ObedientFleet, PlainSigner
from tests.fakes.cloud_tables import Tables, open_tables
from tests.fakes.link import RecordingLink

OLD, NEW = "a" * 64, "b" * 64


class RolloutFleet:
    """Stations s1, s2, ... that run v1, to which v2 can be rolled out; those in `fleet.refuse` roll it back."""

    def __init__(self, database: Path, stations: int = 4, names: tuple[str, ...] = (), version: str = "v2") -> None:
        self.tables: Tables = open_tables(database)
        self.clock, self.link = HandClock(), RecordingLink()
        self.names = names or tuple(f"s{number}" for number in range(1, stations + 1))
        self.tables.add_online(*self.names, now=self.clock.now())
        self.fleet = ObedientFleet(self.tables, self.link, self.clock.now)
        self.fleet.install(OLD, *self.names)
        self.releases = FakeReleases(FakeRelease("v1", OLD), FakeRelease(version, NEW, 2000))
        self.reading = RolloutReading(self.tables.database)
        self.loop = RolloutLoop(
            rollouts=self.tables.rollouts,
            stations=self.tables.stations,
            releases=self.releases,
            signer=PlainSigner(),
            link=self.link,
            settings=RolloutSettings(wave_shares=(0.5,), policy=RolloutPolicy(silence_s=60.0)),
            now=self.clock.now,
        )

    def turns(self, count: int = 12) -> None:
        """Let the loop and the stations do their parts in turn."""
        for _ in range(count):
            self.clock.forward(1.0)
            self.loop.tick()
            self.fleet.obey()

    def compare(self, rollout: int) -> None:
        """Let an A/B rollout have a report: arm b is faster, and lets more pass."""
        found = self.tables.rollouts.get(rollout)
        arms = [
            [ArmStation({"PASS": 70 + n, "REJECT": 30 - n}, 12.0 + n, 10, 9) for n in range(2)],
            [ArmStation({"PASS": 90 + n, "REJECT": 10 - n}, 8.0 + n, 10, 10) for n in range(2)],
        ]
        evidence = msgspec.structs.replace(read_evidence(found.evidence), ab=ab_report(*arms, ("v1", found.version)))
        self.tables.rollouts.note(found, hold=found.hold, evidence=evidence.encode())

    def close(self) -> None:
        """Close the database."""
        self.tables.database.close()
