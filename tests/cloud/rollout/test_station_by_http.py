"""A rollout reaches a station that no broker reaches: it asks for its orders over HTTP, and is not "offline" while it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from cloud.dashboard.rollout_page import _station
from cloud.dashboard.rollouts_view import why_in_words
from cloud.heard_by_http import FRESH_S, HeardByHttp
from cloud.rollout.evidence import read_evidence
from cloud.rollout.judge import RolloutPolicy
from cloud.rollout.plan import read_plan
from cloud.rollout.rollout_states import MemberState, RolloutState
from cloud.rollout.waves_shown import waves_shown
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from cloud.store.rollout_reading import RolloutReading, Wanted
from contract.messages import ReportedState
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases, PlainSigner, read_plain
from tests.fakes.cloud_tables import Tables
from tests.fakes.link import RecordingLink

OLD, NEW = "a" * 64, "b" * 64
ASKS_EVERY_S = 300.0


@dataclass
class Alone:
    """One station, "alone", that never was on a broker, and the loop that orders it. `silence_s` of the plan is a minute."""

    tables: Tables
    clock: HandClock = field(default_factory=HandClock)

    def __post_init__(self) -> None:
        self.heard = HeardByHttp(self.clock.now)
        self._is_token = self.heard.noting(self.tables.stations.is_token)
        self.tables.stations.add("alone", "its own", "", self.clock.now())
        self.report(ReportedState("alone", "b1", self.clock.now(), OLD, "COMMITTED"))
        self.link = RecordingLink()
        self.loop = self.new_loop()
        self.reading = RolloutReading(self.tables.database, self.heard.fresh)

    def new_loop(self) -> RolloutLoop:
        return RolloutLoop(
            rollouts=self.tables.rollouts,
            stations=self.tables.stations,
            releases=FakeReleases(FakeRelease("v1", OLD), FakeRelease("v2", NEW, 2000)),
            signer=PlainSigner(),
            link=self.link,
            settings=RolloutSettings(policy=RolloutPolicy(silence_s=60.0, offline_wait_s=7200.0)),
            now=self.clock.now,
            reached=self.heard.reached,
        )

    def start_again(self) -> None:
        """The server: what it had in memory is gone."""
        self.heard = HeardByHttp(self.clock.now)
        self._is_token = self.heard.noting(self.tables.stations.is_token)
        self.loop = self.new_loop()

    def report(self, said: ReportedState) -> None:
        """What POST /v1/reports does."""
        assert self._is_token("alone", "its own")
        self.tables.stations.commit([], [said], self.clock.now())

    def ask(self) -> str:
        """What GET /v1/orders does; return the deployment that is ordered, "" for none."""
        assert self._is_token("alone", "its own")
        envelope = self.loop.desired_of("alone").envelope
        return read_plain(envelope).deployment if envelope else ""

    def pass_time(self, seconds: float, *, asking: bool = False) -> None:
        left = seconds
        while left > 0.0:
            if asking:
                self.ask()
            step = min(left, ASKS_EVERY_S)
            self.clock.forward(step)
            left -= step
            self.loop.tick()

    def start(self) -> int:
        rollout = self.loop.start("v2", (), "operator")
        self.loop.tick()
        return rollout

    def wave(self, rollout: int) -> str:
        found = self.tables.rollouts.get(rollout)
        counted = self.reading.counts([rollout])[rollout]
        return waves_shown(read_plan(found.plan), read_evidence(found.evidence), counted)[0].in_words()

    def state(self, rollout: int) -> RolloutState:
        return self.tables.rollouts.get(rollout).state


@pytest.fixture
def alone(tables: Tables) -> Iterator[Alone]:
    yield Alone(tables)


def test_it_is_under_way_until_it_asks_and_its_report_ends_the_rollout(alone: Alone) -> None:
    rollout = alone.start()
    alone.pass_time(ASKS_EVERY_S)
    assert alone.state(rollout) is RolloutState.RUNNING
    assert read_evidence(alone.tables.rollouts.get(rollout).evidence).waves[0].offline == 0
    assert alone.wave(rollout) == "0 of 1 committed, 1 under way"
    (seen,), _ = alone.reading.stations(rollout, Wanted(), 0, 10)
    assert (seen.online, seen.by_http) == (False, True)
    row = _station(seen, ["canary"], alone.clock.now())
    assert row["link"] == "by HTTP" and "by HTTP: it gets its order with its next question" in str(row["why"])

    deployment = alone.ask()
    assert deployment == seen.member.deployment
    alone.pass_time(ASKS_EVERY_S, asking=True)
    alone.report(ReportedState("alone", "b1", alone.clock.now(), NEW, "COMMITTED", deployment))
    alone.loop.tick()
    assert alone.state(rollout) is RolloutState.DONE
    (seen,), _ = alone.reading.stations(rollout, Wanted(), 0, 10)
    assert seen.member.state is MemberState.COMMITTED and why_in_words(seen) == ""


@pytest.mark.parametrize("broker_is_there", [True, False])
def test_one_that_asks_and_never_says_a_word_of_its_order_is_silent_after_its_longer_time(
    alone: Alone, broker_is_there: bool
) -> None:
    rollout = alone.start()
    alone.link.up = broker_is_there
    alone.pass_time(600.0, asking=True)
    assert alone.state(rollout) is RolloutState.RUNNING, "its order and its word take five minutes each"
    alone.pass_time(120.0, asking=True)
    assert alone.state(rollout) is not RolloutState.RUNNING
    assert "alone: silent for" in alone.tables.rollouts.get(rollout).reason


def test_one_that_asks_no_more_since_before_its_order_is_offline_and_no_failure(alone: Alone) -> None:
    rollout = alone.start()
    alone.pass_time(FRESH_S - 1.0)
    assert alone.wave(rollout) == "0 of 1 committed, 1 under way" and alone.state(rollout) is RolloutState.RUNNING
    alone.pass_time(2.0)
    assert alone.wave(rollout) == "0 of 1 committed, 1 offline"
    assert read_evidence(alone.tables.rollouts.get(rollout).evidence).waves[0].offline == 1
    alone.pass_time(5000.0)
    assert alone.state(rollout) is RolloutState.RUNNING


def test_one_that_took_its_order_and_vanished_has_failed(alone: Alone) -> None:
    rollout = alone.start()
    alone.clock.forward(10.0)
    alone.ask()
    alone.pass_time(FRESH_S + 600.0)
    assert alone.state(rollout) is not RolloutState.RUNNING


def test_a_server_that_was_started_again_blames_nobody_for_what_it_forgot(alone: Alone) -> None:
    rollout = alone.start()
    alone.ask()
    alone.clock.forward(5000.0)
    alone.start_again()
    alone.pass_time(100.0)
    assert alone.state(rollout) is RolloutState.RUNNING
    alone.pass_time(600.0, asking=True)
    assert alone.state(rollout) is RolloutState.RUNNING


def test_a_server_that_was_started_again_waits_for_it_as_the_one_before(alone: Alone) -> None:
    rollout = alone.start()
    deployment = alone.ask()
    alone.clock.forward(8000.0)  # longer than anybody is waited for who is away
    alone.report(ReportedState("alone", "b1", alone.clock.now(), NEW, "TRIAL", deployment))
    alone.clock.forward(1.0)
    alone.start_again()
    alone.loop.tick()
    assert read_evidence(alone.tables.rollouts.get(rollout).evidence).waves[0].offline == 0
    alone.loop.abort(rollout, "operator", "wrong version")
    alone.pass_time(2.0)
    assert alone.state(rollout) is RolloutState.ABORTING
    alone.pass_time(FRESH_S)
    assert alone.state(rollout) is RolloutState.ABORTED, "it never asked anew"


def test_one_that_was_gone_before_the_server_was_started_again_is_offline_and_no_failure(alone: Alone) -> None:
    rollout = alone.start()
    alone.clock.forward(FRESH_S)
    alone.start_again()
    alone.pass_time(FRESH_S + 3000.0)
    assert alone.state(rollout) is RolloutState.RUNNING
    assert read_evidence(alone.tables.rollouts.get(rollout).evidence).waves[0].offline == 1


def test_an_abort_waits_for_its_way_back_while_it_asks(alone: Alone) -> None:
    rollout = alone.start()
    deployment = alone.ask()
    alone.clock.forward(1.0)
    alone.report(ReportedState("alone", "b1", alone.clock.now(), NEW, "TRIAL", deployment))
    alone.loop.abort(rollout, "operator", "wrong version")
    alone.pass_time(2.0)
    assert alone.state(rollout) is RolloutState.ABORTING
    back = alone.ask()
    assert back != deployment
    alone.report(ReportedState("alone", "b1", alone.clock.now(), OLD, "COMMITTED", back))
    alone.loop.tick()
    assert alone.state(rollout) is RolloutState.ABORTED


def test_what_it_asked_before_it_left_the_broker_says_nothing_of_now(alone: Alone) -> None:
    said = alone.tables.stations.one("alone")
    assert said is not None and alone.heard.reached(said).online
    left = replace(said, state_at=alone.clock.now() + 1.0)
    assert alone.heard.reached(left) == left
    here = replace(said, online=True, state_at=5.0)
    assert alone.heard.reached(here) == here
