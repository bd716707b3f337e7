"""From stored summaries to a rollout that stops: the control group is read beside the stations with the new bundle."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from cloud.rollout.evidence import Compared, read_evidence
from cloud.rollout.judge import RolloutPolicy
from cloud.rollout.rollout_states import RolloutState
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from cloud.store.rollout_evidence import RolloutEvidenceRows
from contract.messages import Accounting, Header, SampleNote, Summary
from contract.sketches.frame_stats import frame_stats
from contract.sketches.rolling import RollingSketch
from contract.sketches.window import SketchIdentity, WindowWire
from contract.sketches.wire import to_wire
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases, ObedientFleet, PlainSigner
from tests.fakes.cloud_tables import Tables, received
from tests.fakes.link import RecordingLink

OLD, NEW = "a" * 64, "b" * 64
STATIONS = tuple(f"s{n:02}" for n in range(12))
PERIOD_S = 300.0


def _window(latency_us: float) -> WindowWire:
    sketch = RollingSketch(SketchIdentity(2, 7, "", "a" * 64, 2))
    stats = frame_stats(np.full((32, 32), 90, np.uint8))
    for _ in range(40):
        sketch.observe(stats, 0, 0.9, latency_us)
    return to_wire(sketch.close())


WINDOWS = {us: _window(us) for us in (5000.0, 25_000.0)}


@dataclass
class Line:
    """Twelve stations that send a summary of 40 frames every five minutes; those on NEW pass `passes` and take `latency_us`."""

    tables: Tables
    clock: HandClock
    link: RecordingLink
    fleet: ObedientFleet
    passes: int = 36
    latency_us: float = 5000.0
    everywhere: int = 36
    seqs: dict[str, int] = field(default_factory=dict)
    loop: RolloutLoop | None = None

    def restart(self) -> None:
        self.loop = RolloutLoop(
            rollouts=self.tables.rollouts,
            stations=self.tables.stations,
            releases=FakeReleases(FakeRelease("v1", OLD), FakeRelease("v2", NEW)),
            signer=PlainSigner(),
            link=self.link,
            settings=RolloutSettings(wave_shares=(0.25,), policy=RolloutPolicy(silence_s=1e6, soak_s=900.0), strata=()),
            now=self.clock.now,
            evidence=RolloutEvidenceRows(self.tables.database),
        )

    def period(self) -> None:
        """Five minutes: every station decides and says so, and the loop ticks."""
        began = self.clock.now()
        self.clock.forward(PERIOD_S)
        told = []
        for n, station in enumerate(STATIONS):
            new = self.fleet.running[station] == NEW
            seq = self.seqs[station] = self.seqs.get(station, 0) + 1
            passed = (self.passes if new else self.everywhere) - (n + seq) % 3
            header = Header(station, "b1", seq, began, self.clock.now(), began, True, self.fleet.running[station])
            counts = Accounting(captured=40, passed=passed, rejected=40 - passed - 1, review={"unsure": 1})
            window = WINDOWS[self.latency_us if new else 5000.0]
            told.append(Summary(header, counts, window))
        self.tables.summaries.commit(received(*told, at=self.clock.now()), [])
        assert self.loop is not None
        self.loop.tick()
        self.fleet.obey()

    def compared(self, rollout: int, what: str) -> Compared:
        evidence = read_evidence(self.tables.rollouts.get(rollout).evidence)
        return next(each for each in evidence.compared if each.what == what)


@pytest.fixture
def line(tables: Tables) -> Line:
    clock, link = HandClock(), RecordingLink()
    tables.add_online(*STATIONS, now=clock.now())
    fleet = ObedientFleet(tables, link, clock.now)
    fleet.install(OLD, *STATIONS)
    line = Line(tables, clock, link, fleet)
    line.restart()
    for _ in range(6):
        line.period()
    return line


def _run(line: Line, periods: int, restart: bool = False) -> tuple[RolloutState, str, int]:
    assert line.loop is not None
    rollout = line.loop.start("v2", (), "operator")
    for _ in range(periods):
        if restart:
            line.restart()
        line.period()
    found = line.tables.rollouts.get(rollout)
    return found.state, found.reason, len({o.station for o in line.fleet.orders if o.bundle == NEW})


@pytest.mark.parametrize("restart", [False, True])
def test_a_canary_that_rejects_good_parts_stops_the_rollout(line: Line, restart: bool) -> None:
    line.passes = 12
    state, reason, reached = _run(line, 8, restart)
    assert (state, reached) == (RolloutState.ABORTED, 1)
    assert "the share of PASS has moved by -6" in reason and "against 11 stations of the control group" in reason
    assert set(line.fleet.running.values()) == {OLD}


def test_a_canary_that_takes_five_times_as_long_stops_the_rollout(line: Line) -> None:
    line.latency_us = 25_000.0
    state, reason, reached = _run(line, 8)
    assert (state, reached) == (RolloutState.ABORTED, 1) and "times as long" in reason


def test_a_good_bundle_gets_through_while_the_whole_plant_changes(line: Line) -> None:
    line.passes = line.everywhere = 20
    state, _, reached = _run(line, 20)
    assert (state, reached) == (RolloutState.DONE, 12)


def test_what_is_compared_is_stored_and_says_what_is_not_known(line: Line) -> None:
    assert line.loop is not None
    rollout = line.loop.start("v2", (), "operator")
    line.period()
    assert read_evidence(line.tables.rollouts.get(rollout).evidence).compared == (), "nobody was ordered before"
    line.period()
    shift = line.compared(rollout, "PASS")
    assert (shift.unknown, shift.stations, shift.control, shift.limit) == ("", 1, 11, 0.1)
    assert shift.lower < shift.value < shift.upper and abs(shift.value) < 0.1
    assert line.compared(rollout, "latency").value == pytest.approx(1.0)
    assert line.compared(rollout, "memory").unknown, "nobody said"


def test_both_arms_are_reported_while_they_are_held_side_by_side(line: Line) -> None:
    assert line.loop is not None
    line.passes = 38
    rollout = line.loop.start_ab("v2", 0.5, "operator", until=line.clock.now() + 1e6)
    for _ in range(12):
        line.period()
    note = SampleNote("one", line.clock.now(), "p", "good", 0.9, "PASS", "audit", 0.5)
    header = Header("s00", "b1", 99, line.clock.now(), line.clock.now() + 1.0, 1.0, True, NEW)
    line.tables.summaries.commit(received(Summary(header, Accounting(), samples=(note,)), at=line.clock.now()), [])
    line.period()
    report = read_evidence(line.tables.rollouts.get(rollout).evidence).ab
    assert report is not None and [(arm.version, arm.stations) for arm in report.arms] == [("v1", 6), ("v2", 6)]
    passes = next(each for each in report.differences if each.what == "PASS")
    assert 0.03 < passes.value < 0.07 and passes.lower > 0.0
    assert all(arm.latency_ms == pytest.approx(5.0, rel=0.15) for arm in report.arms)


def test_stations_that_are_meant_to_change_are_held_against_nobody(line: Line) -> None:
    assert line.loop is not None
    rollout = line.loop.start("v2", STATIONS[3:], "operator")
    for _ in range(4):
        line.period()
    assert "takes 3 stations without the new bundle" in line.compared(rollout, "PASS").unknown
