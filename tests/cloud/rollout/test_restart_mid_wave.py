"""The server killed between any two things it does for good, and aborts between any two: orders are neither lost nor doubled (P7).

The database is a real SQLite file, opened anew after each kill; what it does is traced, not listed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection

from cloud.ports.rollouts import StandingOrder
from cloud.rollout.judge import RolloutPolicy
from cloud.rollout.rollout_states import MemberEvent, MemberState, RolloutState
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from contract.errors import IllegalTransition, NotFound, PlumblineError, RefusedError, TransientError
from contract.messages import Order
from tests.fakes.agent_clock import HandClock
from tests.fakes.cloud_fleet import FakeRelease, FakeReleases, ObedientFleet, PlainSigner, read_plain
from tests.fakes.cloud_tables import Tables, open_tables
from tests.fakes.link import RecordingLink

OLD, NEW = "a" * 64, "b" * 64
STATIONS = ("s1", "s2", "s3", "s4")
TURNS = 24


class Killed(BaseException):
    """The process is gone. Not an Exception: nothing may catch it."""


class Strike:
    """Counts what is done for good and strikes once, before or after step `at`."""

    def __init__(self, at: int, after: bool, blow: Callable[[], None]) -> None:
        self._at, self._after, self._blow = at, after, blow
        self.steps = 0

    @contextmanager
    def step(self) -> Iterator[None]:
        struck, self.steps = self.steps == self._at, self.steps + 1
        if struck and not self._after:
            self._blow()
        yield
        if struck and self._after:
            self._blow()


class MortalLink(RecordingLink):
    """A broker that outlives the server; handing it a message is a step."""

    strike: Strike | None = None

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> bool:
        if self.strike is None:
            return super().publish(topic, payload, qos=qos, retain=retain)
        with self.strike.step():
            return super().publish(topic, payload, qos=qos, retain=retain)


class Server:
    """A cloud over one database file; `restart` opens that anew. The fleet has its own connection and outlives it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.clock, self.link = folder / "cloud.db", HandClock(), MortalLink()
        self.releases = FakeReleases(FakeRelease("v1", OLD), FakeRelease("v2", NEW, 2000))
        self.outside = open_tables(self.path)
        self.outside.add_online(*STATIONS, now=self.clock.now())
        self.fleet = ObedientFleet(self.outside, self.link, self.clock.now)
        self.fleet.install(OLD, *STATIONS)
        self.tables: Tables | None = None
        self.restart(None)

    def restart(self, strike: Strike | None) -> None:
        """Let a new process take over; `strike` watches what it does."""
        if self.tables is not None:
            self.tables.database.close()
        self.tables, self.link.strike = open_tables(self.path), strike
        if strike is not None:
            plain = self.tables.database.write

            @contextmanager
            def write() -> Iterator[Connection]:
                with strike.step(), plain() as connection:
                    yield connection

            _replace_write(self.tables, write)
        self.loop = RolloutLoop(
            rollouts=self.tables.rollouts,
            stations=self.tables.stations,
            releases=self.releases,
            signer=PlainSigner(),
            link=self.link,
            settings=RolloutSettings(wave_shares=(0.5,), policy=RolloutPolicy(silence_s=60.0)),
            now=self.clock.now,
        )

    def alive(self, work: Callable[[], object]) -> bool:
        """Do `work`; when the server is killed in it, start another and return False."""
        try:
            work()
        except Killed:
            self.restart(None)
            return False
        except IllegalTransition:
            pass  # what the thread's guard logs: somebody else moved the rollout on
        return True

    def turns(self, count: int = TURNS) -> None:
        for _ in range(count):
            self.clock.forward(1.0)
            self.alive(self.loop.tick)
            self.fleet.obey()
            if self.outside.rollouts.all()[-1].ended_at is not None and not self.outside.rollouts.unpublished():
                return

    def begin(self) -> None:
        """A person starts the rollout, and asks again when the answer did not come and there is none."""
        if not self.alive(lambda: self.loop.start("v2", (), "operator")) and not self.outside.rollouts.all():
            self.loop.start("v2", (), "operator")

    def stop(self) -> None:
        """A person stops the rollout, likewise."""
        if not self.alive(self.abort):
            self.alive(self.abort)

    def abort(self) -> None:
        self.loop.abort(1, "eva", "wrong lamp")

    def check_orders(self) -> list[Order]:
        """No number was given to two orders, numbers rise, and the last one stands; return every order that was sent."""
        orders = [read_plain(desired.envelope) for desired in self.link.desired()]
        for station in STATIONS:
            mine = [order for order in orders if order.station == station]
            by_seq: dict[int, set[tuple[str, str]]] = {}
            for order in mine:
                by_seq.setdefault(order.desired_seq, set()).add((order.bundle, order.deployment))
            assert all(len(each) == 1 for each in by_seq.values()), by_seq
            assert [order.desired_seq for order in mine] == sorted(order.desired_seq for order in mine)
            assert sorted(by_seq) == list(range(1, len(by_seq) + 1))
            assert self.outside.rollouts.next_seq(station) == len(by_seq) + 1
        assert not self.outside.rollouts.unpublished()
        assert self.outside.audit.first_broken() is None
        return orders

    def state(self) -> RolloutState:
        (only,) = self.outside.rollouts.all()
        return only.state

    def close(self) -> None:
        assert self.tables is not None
        self.tables.database.close()
        self.outside.database.close()


def _replace_write(tables: Tables, write: Callable[[], AbstractContextManager[Connection]]) -> None:
    tables.database.write = write  # type: ignore[method-assign]


def killed() -> None:
    raise Killed


def good(server: Server) -> None:
    server.begin()
    server.turns()
    assert server.state() is RolloutState.DONE
    assert set(server.fleet.running.values()) == {NEW}
    orders = {(order.station, order.bundle) for order in server.check_orders()}
    assert orders == {(station, NEW) for station in STATIONS}


def bad(server: Server) -> None:
    """The third station rolls back: the two that committed are taken back."""
    server.fleet.refuse.add("s3")
    server.begin()
    server.turns()
    assert server.state() is RolloutState.ABORTED
    assert set(server.fleet.running.values()) == {OLD}
    server.check_orders()


def stopped(server: Server) -> None:
    """A person stops it after the canary."""
    server.begin()
    server.turns(2)
    server.stop()
    server.turns()
    assert server.state() is RolloutState.ABORTED
    assert set(server.fleet.running.values()) == {OLD}
    server.check_orders()


@contextmanager
def server_in(folder: Path) -> Iterator[Server]:
    folder.mkdir()
    server = Server(folder)
    try:
        yield server
    finally:
        server.close()


def sweep(tmp_path: Path, story: Callable[[Server], None], stride: int) -> None:
    with server_in(tmp_path / "traced") as server:
        strike = Strike(-1, False, killed)
        server.restart(strike)
        story(server)
    assert strike.steps > 15
    for at in range(0, strike.steps, stride):
        for after in (False, True):
            with server_in(tmp_path / f"{at}{after}") as server:
                server.restart(Strike(at, after, killed))
                story(server)


stories = pytest.mark.parametrize("story", [good, bad, stopped])


@pytest.mark.slow
@stories
def test_a_server_killed_at_some_steps_loses_and_doubles_no_order(
    tmp_path: Path, story: Callable[[Server], None]
) -> None:
    sweep(tmp_path, story, 7)


@pytest.mark.long
@stories
def test_a_server_killed_at_every_step_loses_and_doubles_no_order(
    tmp_path: Path, story: Callable[[Server], None]
) -> None:
    sweep(tmp_path, story, 1)


@pytest.mark.parametrize("stride", [pytest.param(4, id="some"), pytest.param(1, id="all", marks=pytest.mark.long)])
def test_an_abort_between_any_two_steps_wins_or_comes_too_late(tmp_path: Path, stride: int) -> None:
    """Just before and just after a station's COMMITTED is heard, a wave begins, the last step is taken."""
    with server_in(tmp_path / "traced") as server:
        strike = Strike(-1, False, killed)
        server.restart(strike)
        good(server)
    ends = set()
    for at in range(1, strike.steps, stride):
        with server_in(tmp_path / str(at)) as server:
            answers: list[str] = []

            def abort(server: Server = server, answers: list[str] = answers) -> None:
                # Through the database, as another thread would: this one is in the middle of a step.
                other = open_tables(server.path)
                try:
                    RolloutLoop(
                        rollouts=other.rollouts,
                        stations=other.stations,
                        releases=server.releases,
                        signer=PlainSigner(),
                        link=RecordingLink(),
                        settings=RolloutSettings(),
                        now=server.clock.now,
                    ).abort(1, "eva", "wrong lamp")
                    answers.append("stopped")
                except (IllegalTransition, NotFound) as error:
                    answers.append(error.one_line())
                finally:
                    other.database.close()

            server.restart(Strike(at, False, abort))
            server.begin()
            server.turns(40)
            end, runs = server.state(), set(server.fleet.running.values())
            assert len(answers) == 1
            if answers == ["stopped"]:
                assert (end, runs) == (RolloutState.ABORTED, {OLD}), f"abort before step {at}"
            else:
                assert (end, runs) == (RolloutState.DONE, {NEW}), f"{answers} before step {at}"
            server.check_orders()
            ends.add(end)
    assert RolloutState.ABORTED in ends


def test_people_who_start_and_stop_while_the_loop_ticks_never_get_one_number_twice(tmp_path: Path) -> None:
    with server_in(tmp_path / "threads") as server:
        over, leaked = threading.Event(), list[BaseException]()

        def tick() -> None:
            while not over.is_set():
                try:
                    server.loop.tick()
                    server.fleet.obey()
                except IllegalTransition:
                    pass  # a person was faster
                except BaseException as error:  # noqa: BLE001  whatever leaks is the finding
                    leaked.append(error)
                    return

        ticking = threading.Thread(target=tick)
        ticking.start()
        answers = list[str]()

        def ask() -> None:
            for n in range(12):
                try:
                    rollout = server.loop.start("v2" if n % 2 else "v1", (), "operator")
                    answers.append("started")
                    server.loop.abort(rollout, "eva", "or not")
                    answers.append("stopped")
                except RefusedError as error:
                    answers.append(type(error).__name__)
                except PlumblineError as error:
                    leaked.append(error)

        asking = [threading.Thread(target=ask) for _ in range(2)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        over.set()
        ticking.join()
        server.turns()
        assert not leaked and "started" in answers and "stopped" in answers
        busy = (RolloutState.RUNNING, RolloutState.ABORTING)
        assert not [each for each in server.outside.rollouts.all() if each.state in busy]
        for each in server.outside.rollouts.all():
            left = {member.state for member in server.outside.rollouts.members(each.id)}
            assert not left & {MemberState.PLANNED, MemberState.ORDERED}
        server.check_orders()


def test_an_order_made_from_what_is_past_is_not_stored(tmp_path: Path) -> None:
    """Two servers over one database, or one that slept: the number is given once, and the step taken once."""
    with server_in(tmp_path / "stale") as server:
        server.begin()
        book = server.outside.rollouts
        canary, *_ = book.members(1)
        first = StandingOrder(canary.station, book.next_seq(canary.station), NEW, "first", published=False)
        book.order(canary, MemberEvent.ORDER, first, OLD, 1.0)
        with pytest.raises(TransientError, match="was taken"):
            book.order(canary, MemberEvent.ORDER, first, OLD, 1.0)
        next_one = StandingOrder(canary.station, 2, OLD, "second", published=False)
        with pytest.raises(IllegalTransition, match="moved on"):
            book.order(canary, MemberEvent.ORDER, next_one, OLD, 1.0)
        assert [order.envelope for order in book.unpublished()] == ["first"]
        assert book.next_seq(canary.station) == 2
