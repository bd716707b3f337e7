"""Orders that come late, twice, out of order and between restarts: whatever their order, the station stays whole (P2, P3).

A hypothesis state machine over a real `UpdateLoop`, real slots, floors and signatures, a real image repository over HTTP.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from update_plant import NOW, FakeClock, FakeSwitch, Plant, plant

from agent.ports.slots import TrialOutcome
from cloud.registry.catalog import ReleasedVersion
from contract.update_states import MAX_TRIES

DAY_S = 86_400.0
DEPLOYMENTS = ("roll-a", "roll-b")


class JudgingSwitch(FakeSwitch):
    """A frame loop that keeps every bundle but those in `bad`; while `hangs`, no trial ends."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.bad: set[str] = set()
        self.hangs = False

    def next_outcome(self, within_s: float) -> TrialOutcome | None:
        bad = self.offered[-1].bundle.digest in self.bad
        self.verdict = None if self.hangs else "it is worse" if bad else ""
        return super().next_outcome(within_s)


@dataclass(frozen=True)
class World:
    """The cloud's side, made once: four releases, of which the last is bad on live frames."""

    here: Plant
    releases: tuple[ReleasedVersion, ...]

    @property
    def bad(self) -> ReleasedVersion:
        return self.releases[-1]

    def station(self, folder: Path) -> Plant:
        """Return the plant with a station of its own in `folder`, which runs the first release."""
        cloud = self.here
        made = Plant(folder, cloud.keys, cloud.registry, cloud.server, cloud.http, cloud.root)
        made.switch = JudgingSwitch(made.clock)
        made.switch.bad = {self.bad.digest}
        made.send(made.order(self.releases[0], "first"))
        assert made.settle(made.loop()).update_state == "COMMITTED"
        return made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with plant(tmp_path_factory.mktemp("races")) as here:
        yield World(here, tuple(here.release(str(n), seed=n) for n in range(4)))


@dataclass(frozen=True)
class Sent:
    """An order that the cloud made."""

    envelope: str
    seq: int
    bundle: str
    deployment: str


class Races(RuleBasedStateMachine):
    """The cloud sends, the broker repeats, power fails, clocks jump; the station is asked for its promises after each step."""

    world: World
    folders: Iterator[Path]

    @initialize()
    def begin(self) -> None:
        self.here = self.world.station(next(self.folders))
        self.loop = self.here.loop()
        self.sent: list[Sent] = []
        self.floor = self.committed_seq = 0
        self.banned: frozenset[tuple[str, str]] = frozenset()
        self.looked = len(self.here.switch.offered)
        self.up()

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.up()
            self.end()

    # What happens

    @rule(which=st.integers(0, 3), deployment=st.sampled_from(DEPLOYMENTS) | st.none())
    def send(self, which: int, deployment: str | None) -> None:
        release = self.world.releases[which]
        seq = self.here.seq + 1
        name = deployment or f"roll-{seq}"
        # The cloud's clock is right, whatever the station's says.
        envelope = self.here.order(release, name, now=NOW + seq)
        self.sent.append(Sent(envelope, seq, release.digest, name))
        self.here.send(envelope)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        self.here.send(data.draw(st.sampled_from(self.sent)).envelope)

    @precondition(lambda self: self.sent)
    @rule()
    def abort(self) -> None:
        """The cloud orders back what the station says it runs."""
        digest = self.here.report.said[-1].bundle
        index = next((n for n, each in enumerate(self.world.releases) if each.digest == digest), 0)
        self.send(index, f"{self.sent[-1].deployment}-back")

    @rule(ticks=st.integers(1, 12))
    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.loop.tick(1.0)

    @rule(retained=st.booleans())
    def restart(self, retained: bool) -> None:
        """The process is new; the broker gives it the retained order, or is away."""
        self.loop = self.here.loop()
        if retained and self.sent:
            self.here.send(self.sent[-1].envelope)

    @rule(days=st.sampled_from([-20_000, -2, 0, 1, 400]))
    def jump(self, days: int) -> None:
        self.here.clock.at = max(0.0, NOW + days * DAY_S)

    @rule(what=st.sampled_from(["timestamp.json", ".plb"]), status=st.sampled_from([404, 503]))
    def down(self, what: str, status: int) -> None:
        self.here.server.statuses[what] = status

    @rule()
    def up(self) -> None:
        self.here.server.statuses.clear()

    @rule(hangs=st.booleans())
    def hang(self, hangs: bool) -> None:
        self.here.switch.hangs = hangs

    @rule(share=st.floats(0.0, 0.99))
    def tear_the_state_file(self, share: float) -> None:
        path = self.here.home / "bundles" / "state"
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        self.banned = frozenset()  # OTA-5: what is torn is absent, bans too

    @rule(share=st.floats(0.0, 0.99))
    def tear_a_copy_of_the_floors(self, share: float) -> None:
        path = self.here.home / "floors" / "floors.a"
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    # What is promised

    @invariant()
    def a_verified_bundle_that_was_kept_boots(self) -> None:
        booted = self.here.slots().boot_bundle()
        assert booted is not None and booted.digest != self.world.bad.digest
        mark = self.here.slots().committed()
        assert mark is not None and mark.digest == booted.digest

    @invariant()
    def floors_and_committed_orders_only_rise(self) -> None:
        floor = self.here.floors().read().desired_seq
        assert floor >= self.floor
        self.floor = floor
        mark = self.here.slots().committed()
        assert mark is not None and mark.order is not None and mark.order.desired_seq >= self.committed_seq
        self.committed_seq = mark.order.desired_seq

    @invariant()
    def what_is_banned_is_never_tried_again(self) -> None:
        offered = self.here.switch.offered
        for trial in offered[self.looked :]:
            assert (trial.bundle.digest, trial.deployment) not in self.banned
        self.looked = len(offered)
        self.banned = self.here.slots().banned()

    def end(self) -> None:
        """Left alone with the newest order, the station ends where that leads."""
        self.here.clock.at = NOW
        self.here.switch.hangs = False
        if self.sent:
            self.here.send(self.sent[-1].envelope)
        for _ in range(900):
            self.loop.tick(1.0)
        self.a_verified_bundle_that_was_kept_boots()
        self.floors_and_committed_orders_only_rise()
        if not self.sent:
            return
        newest, said = self.sent[-1], self.here.report.said[-1]
        booted = self.here.slots().boot_bundle()
        assert booted is not None and said.bundle == booted.digest
        assert said.update_state in ("COMMITTED", "ROLLED_BACK")
        bad = newest.bundle == self.world.bad.digest  # its ban may be torn away, and it is refused as a replay
        if bad or (newest.bundle, newest.deployment) in self.here.slots().banned():
            assert said.bundle != self.world.bad.digest
        else:
            assert (said.bundle, said.desired_seq) == (newest.bundle, newest.seq)
            assert said.update_state == "COMMITTED"


def race(world: World, folder: Path, **limits: int) -> None:
    machine = type("Races", (Races,), {"world": world, "folders": (folder / str(n) for n in itertools.count())})
    run_state_machine_as_test(
        machine,
        settings=settings(deadline=None, suppress_health_check=list(HealthCheck), database=None, **limits),
    )


def test_orders_in_any_order_leave_a_whole_station(world: World, tmp_path: Path) -> None:
    race(world, tmp_path, max_examples=10, stateful_step_count=20)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_orders_in_any_order_leave_a_whole_station(world: World, tmp_path: Path) -> None:
    race(world, tmp_path, max_examples=200, stateful_step_count=40)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_three_orders_in_any_order_end_at_the_newest(world: World, tmp_path: Path, order: tuple[int, ...]) -> None:
    here = world.station(tmp_path)
    envelopes = [here.order(world.releases[n], f"roll-{n}") for n in range(3)]
    loop = here.loop()
    for n in order:
        here.send(envelopes[n])
        here.settle(loop)
    said = here.report.said[-1]
    assert said.bundle == world.releases[2].digest
    assert here.floors().read().desired_seq == 4
    sequence = [trial.deployment for trial in here.switch.offered[1:]]
    assert sequence == sorted(sequence), "what was older than the last one committed was never tried"


def test_an_order_that_comes_while_another_is_on_trial_ends_it(world: World, tmp_path: Path) -> None:
    here = world.station(tmp_path)
    loop = here.loop()
    here.switch.hangs = True
    here.send(here.order(world.releases[1], "roll-1"))
    for _ in range(10):
        loop.tick(1.0)
    assert here.report.said[-1].update_state == "TRIAL"
    here.switch.hangs = False
    here.send(here.order(world.releases[2], "roll-2"))
    for _ in range(30):
        loop.tick(1.0)
    assert here.switch.withdrawn == [("roll-1", world.releases[1].digest)]
    assert [trial.deployment for trial in here.switch.offered] == ["first", "roll-1", "roll-2"]
    assert here.report.said[-1].bundle == world.releases[2].digest
    assert not here.slots().banned()


@pytest.mark.parametrize("ticks", range(1, 9))
@pytest.mark.parametrize("kept", [True, False])
def test_an_abort_that_meets_the_commit_ends_at_the_bundle_ordered_back(
    world: World, tmp_path: Path, kept: bool, ticks: int
) -> None:
    """The cloud orders back while the station keeps, or rolls back, what it was sent before."""
    here = world.station(tmp_path)
    loop = here.loop()
    here.send(here.order(world.releases[1] if kept else world.bad, "roll-1"))
    back = here.order(world.releases[0], "roll-1-back")
    for _ in range(ticks):
        loop.tick(1.0)
    here.send(back)
    for _ in range(20):
        loop.tick(1.0)
    said = here.report.said[-1]
    assert (said.update_state, said.bundle, said.deployment) == (
        "COMMITTED",
        world.releases[0].digest,
        "roll-1-back",
    )


def test_a_station_that_dies_in_every_trial_takes_the_next_order_all_the_same(world: World, tmp_path: Path) -> None:
    here = world.station(tmp_path)
    here.switch.hangs = True
    crashing = here.send(here.order(world.releases[1], "crashing"))
    for _ in range(MAX_TRIES + 1):
        loop = here.loop()
        here.send(crashing)
        for _ in range(8):
            loop.tick(1.0)
    assert here.report.said[-1].update_state == "ROLLED_BACK"
    here.switch.hangs = False
    here.send(here.order(world.releases[1], "mended"))
    assert here.settle(loop).bundle == world.releases[1].digest
